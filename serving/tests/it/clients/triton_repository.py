"""tritonclient at the repository API, over HTTP and over gRPC: load, unload and the index."""

import sys

import tritonclient.grpc as grpc
import tritonclient.http as http
from tritonclient.utils import InferenceServerException

from common import GRPC, HTTP, refused, same, values

HTTP_API, GRPC_API = sys.argv[3:5]


def fails(words, call):
    refused(InferenceServerException, words, call)


def infer(client, package):
    sent = values("FP32")
    tensor = package.InferInput("x", list(sent.shape), "FP32")
    tensor.set_data_from_numpy(sent)
    return client.infer("FP32", [tensor]).as_numpy("y"), sent


def state_over_http(api):
    return [(entry["version"], entry["state"], entry["reason"]) for entry in api.get_model_repository_index() if entry["name"] == "FP32"]


def state_over_grpc(api):
    return [(entry.version, entry.state, entry.reason) for entry in api.get_model_repository_index().models if entry.name == "FP32"]


def check(package, public, own, state):
    """`public` is a client of a server's ordinary port, and `own` of its repository API, both of `package`."""
    assert state(own) == state(public) == [("1", "READY", "")], state(own)
    own.load_model("FP32")
    same(*infer(public, package))

    own.unload_model("FP32")
    fails("model 'FP32' is not found", lambda: infer(public, package))
    assert not public.is_model_ready("FP32") and public.is_server_ready()
    assert state(own) == [("1", "UNAVAILABLE", "unloaded")], state(own)
    own.unload_model("FP32", unload_dependents=True)

    own.load_model("FP32")
    same(*infer(public, package))
    assert public.is_model_ready("FP32")

    fails("model 'nothing' is not in the model repository", lambda: own.load_model("nothing"))
    fails("model 'nothing' is not in the model repository", lambda: own.unload_model("nothing"))
    fails("parameter 'config' is refused", lambda: own.load_model("FP32", config="{}"))
    # As large as models are.
    files = {"file:1/model.pt": bytes(1 << 20)}
    fails("models and their configuration come from the model repository alone", lambda: own.load_model("FP32", config="{}", files=files))
    for call in [public.load_model, public.unload_model]:
        fails("is not enabled on this server's public ports", lambda: call("FP32"))
        fails("start it with --repository-api HOST:PORT, or --repository-grpc HOST:PORT for gRPC", lambda: call("FP32"))
    same(*infer(public, package))


with http.InferenceServerClient(HTTP) as public, http.InferenceServerClient(HTTP_API) as own:
    check(http, public, own, state_over_http)
    # Nothing but the repository is spoken there.
    fails("is not part of the Open Inference Protocol", lambda: infer(own, http))

with grpc.InferenceServerClient(GRPC) as public, grpc.InferenceServerClient(GRPC_API) as own:
    check(grpc, public, own, state_over_grpc)
    fails("ask that of --grpc-port", lambda: infer(own, grpc))
    fails("ask that of --grpc-port", lambda: own.is_server_live())
    for status, call in [
        ("NOT_FOUND", lambda: own.load_model("nothing")),
        ("INVALID_ARGUMENT", lambda: own.load_model("FP32", config="{}")),
        ("UNIMPLEMENTED", lambda: public.load_model("FP32")),
    ]:
        fails(f"[StatusCode.{status}]", call)
