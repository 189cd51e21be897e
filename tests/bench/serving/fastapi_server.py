"""FastAPI on uvicorn, with the model in the event loop. Arguments: MODEL.pt COLUMNS PORT MAX_BATCH (not used)."""

import sys

import torch
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import ORJSONResponse

torch.set_num_threads(1)
model = torch.jit.load(sys.argv[1])
app = FastAPI(default_response_class=ORJSONResponse)


@app.post("/")
async def infer(request: Request):
    body = await request.json()
    with torch.inference_mode():
        return ORJSONResponse({"y": model(torch.tensor([body["x"]]))[0].tolist()})


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[3]), log_level="error", access_log=False)
