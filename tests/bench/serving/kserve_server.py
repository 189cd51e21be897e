"""KServe's own Python runtime, with its v2 protocol. Arguments: MODEL.pt COLUMNS PORT MAX_BATCH (not used)."""

import logging
import sys

import kserve
import torch
from kserve import InferOutput, InferRequest, InferResponse

MODEL, PORT = sys.argv[1], int(sys.argv[3])


class Model(kserve.Model):
    def __init__(self):
        super().__init__("model")
        torch.set_num_threads(1)
        self.model = torch.jit.load(MODEL)
        self.ready = True

    def predict(self, payload: InferRequest, headers=None, response_headers=None):
        with torch.inference_mode():
            y = self.model(torch.from_numpy(payload.inputs[0].as_numpy()))
        output = InferOutput("y", list(y.shape), "FP32")
        output.set_data_from_numpy(y.numpy(), binary_data=False)
        return InferResponse("", "model", [output])


if __name__ == "__main__":
    server = kserve.ModelServer(http_port=PORT, enable_grpc=False, enable_latency_logging=False)
    # No line for each request.
    logging.getLogger("uvicorn.access").disabled = True
    server.start([Model()])
