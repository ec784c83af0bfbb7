"""A service that was written for onnxruntime, with its import changed.

    python docs/examples/service.py gestures.onnx --port 8080
    curl -s http://127.0.0.1:8080 -d '{"x": [[[1, 2, 3]]]}'

A request is a JSON object with the inputs, and the answer is one with the outputs. Each request is a whole sequence. To
keep the state of each client between requests, use `fastgru serve`.
"""

import argparse
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

import fastgru.compat.onnxruntime as ort  # was: import onnxruntime as ort

InvalidArgument = ort.capi.onnxruntime_pybind11_state.InvalidArgument
DTYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64}


def main() -> None:
    parser = argparse.ArgumentParser(description="Answer requests with a model.")
    parser.add_argument("model")
    parser.add_argument("--port", type=int, default=8080)
    args = parser.parse_args()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(args.model, options, providers=["CPUExecutionProvider"])
    outputs = [output.name for output in session.get_outputs()]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            try:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                feeds = {a.name: np.array(request[a.name], DTYPES[a.type]) for a in session.get_inputs()}
                results = session.run(outputs, feeds)  # from any number of threads
            except (KeyError, TypeError, ValueError, InvalidArgument) as error:
                self.answer(400, {"error": str(error)})
            else:
                self.answer(200, {name: result.tolist() for name, result in zip(outputs, results, strict=True)})

        def answer(self, status: int, content: dict[str, object]) -> None:
            body = json.dumps(content).encode() + b"\n"
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", args.port), Handler) as server:
        print(f"http://127.0.0.1:{server.server_port} answers", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
