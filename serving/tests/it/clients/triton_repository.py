"""tritonclient over HTTP at the repository API: load, unload and the index."""

import sys

import tritonclient.grpc as grpc
import tritonclient.http as http
from tritonclient.utils import InferenceServerException

from common import GRPC, HTTP, refused, same, values

API = sys.argv[3]


def fails(words, call):
    refused(InferenceServerException, words, call)


def infer(client):
    sent = values("FP32")
    tensor = http.InferInput("x", list(sent.shape), "FP32").set_data_from_numpy(sent)
    return client.infer("FP32", [tensor]).as_numpy("y"), sent


def state(api):
    return [(entry["version"], entry["state"], entry["reason"]) for entry in api.get_model_repository_index() if entry["name"] == "FP32"]


with http.InferenceServerClient(HTTP) as client, http.InferenceServerClient(API) as api:
    assert state(api) == [("1", "READY", "")], state(api)
    api.load_model("FP32")
    same(*infer(client))

    api.unload_model("FP32")
    fails("model 'FP32' is not found", lambda: infer(client))
    assert not client.is_model_ready("FP32") and client.is_server_ready()
    assert state(api) == [("1", "UNAVAILABLE", "unloaded")], state(api)
    api.unload_model("FP32", unload_dependents=True)

    api.load_model("FP32")
    same(*infer(client))
    assert client.is_model_ready("FP32")

    fails("model 'nothing' is not in the model repository", lambda: api.load_model("nothing"))
    fails("model 'nothing' is not in the model repository", lambda: api.unload_model("nothing"))
    fails("parameter 'config' is refused", lambda: api.load_model("FP32", config="{}"))
    fails("is not enabled on this server's public ports", lambda: client.load_model("FP32"))
    with grpc.InferenceServerClient(GRPC) as public:
        fails("start it with --repository-api HOST:PORT", lambda: public.load_model("FP32"))
        fails("start it with --repository-api HOST:PORT", lambda: public.unload_model("FP32"))
    # Nothing but the repository is spoken there.
    fails("is not part of the Open Inference Protocol", lambda: infer(api))
    same(*infer(client))
