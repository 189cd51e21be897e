"""LitServe: one worker process, JSON. Arguments: MODEL.pt COLUMNS PORT MAX_BATCH."""

import sys

import litserve
import torch

MODEL, PORT, MAX_BATCH = sys.argv[1], int(sys.argv[3]), int(sys.argv[4])


class Api(litserve.LitAPI):
    def setup(self, device):
        torch.set_num_threads(1)
        self.model = torch.jit.load(MODEL)

    def decode_request(self, request):
        return torch.tensor(request["x"])

    def batch(self, inputs):
        return torch.stack(inputs)

    def unbatch(self, output):
        return list(output)

    def predict(self, x):
        with torch.inference_mode():
            return self.model(x if x.dim() > 1 else x.unsqueeze(0))

    def encode_response(self, output):
        return {"y": output.flatten().tolist()}


if __name__ == "__main__":
    api = Api(max_batch_size=MAX_BATCH, batch_timeout=0.001)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=PORT, log_level="error", generate_client_file=False)
