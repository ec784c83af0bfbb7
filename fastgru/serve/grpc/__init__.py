"""The Open Inference Protocol over gRPC: `inference.GRPCInferenceService`, as Triton's client and KServe's speak it.

HTTP/2 is spoken here, on the loop of the server, and by no library of gRPC: frames to calls, calls to jobs, with no
task and no thread in between. With a client of grpcio on one core, and a server that sends 400 bytes back on the other,
the median of a unary call was 202 us this way, 397 by `grpc.aio` on the same loop, and 477 by `grpc.server` with four
threads that hand the work to it; of a message of a stream 150, 250 and 290 us. The server's CPU time for a unary call
was 33, 290 and 380 us. A client's own part is some 170 us. `python -m bench.serve grpc --triton PYTHON` prints what a
step takes now, beside Triton's.
"""
