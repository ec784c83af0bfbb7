"""The Open Inference Protocol over gRPC: `inference.GRPCInferenceService`, for the clients of Triton and KServe.

This package speaks HTTP/2 on the loop of the server, without a gRPC library: frames become calls, and calls become
jobs, with no task and no thread in between. With a client of grpcio on one core, and a server that sends 400 bytes back
on the other, the median of a unary call was 202 us this way, 397 with `grpc.aio` on the same loop, and 477 with
`grpc.server` and four threads that hand the work to the loop. For a message of a stream it was 150, 250 and 290 us. The
server's CPU time for a unary call was 33, 290 and 380 us. The client itself takes some 170 us of each call.
`python -m bench.serve grpc --triton PYTHON` measures a step today, next to Triton.
"""
