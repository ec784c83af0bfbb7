"""The messages of `inference.GRPCInferenceService` that are read and written here, as a table of their fields.

Their descriptors are in a separate pool: the pool that all generated code shares can have only one message of a name,
and the packages of Triton's client and KServe have messages with these names.
"""

from functools import cache
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

__all__ = ["MESSAGES", "message"]

# Fields are "name number type". Type* is repeated, and {Type} is a map from strings. Types that begin with a capital
# are messages. A name with a dot is that of a message within another. A message whose fields begin with | has one of
# them at a time.
MESSAGES: Final = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "live 1 bool",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "ready 1 bool",
    "ModelReadyRequest": "name 1 string, version 2 string",
    "ModelReadyResponse": "ready 1 bool",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": "name 1 string, version 2 string, extensions 3 string*",
    "ModelMetadataRequest": "name 1 string, version 2 string",
    "ModelMetadataResponse.TensorMetadata": "name 1 string, datatype 2 string, shape 3 int64*",
    "ModelMetadataResponse": "name 1 string, versions 2 string*, platform 3 string,"
    " inputs 4 ModelMetadataResponse.TensorMetadata*, outputs 5 ModelMetadataResponse.TensorMetadata*",
    "ModelConfigRequest": "name 1 string, version 2 string",
    "ModelConfigResponse": "config 1 ModelConfig",
    "ModelConfig": "name 1 string, platform 2 string, version_policy 3 ModelVersionPolicy, max_batch_size 4 int32,"
    " input 5 ModelInput*, output 6 ModelOutput*, sequence_batching 13 ModelSequenceBatching,"
    " parameters 14 {ModelParameter}, backend 17 string",
    "ModelVersionPolicy": "latest 1 ModelVersionPolicy.Latest",
    "ModelVersionPolicy.Latest": "num_versions 1 uint32",
    "ModelInput": "name 1 string, data_type 2 DataType, dims 4 int64*",
    "ModelOutput": "name 1 string, data_type 2 DataType, dims 3 int64*",
    "ModelParameter": "string_value 1 string",
    "ModelSequenceBatching": "max_sequence_idle_microseconds 1 uint64, state 5 ModelSequenceBatching.State*",
    "ModelSequenceBatching.State": "input_name 1 string, output_name 2 string, data_type 3 DataType, dims 4 int64*",
    "InferParameter": "| bool_param 1 bool, int64_param 2 int64, string_param 3 string, double_param 4 double,"
    " uint64_param 5 uint64",
    "InferTensorContents": "bool_contents 1 bool*, int_contents 2 int32*, int64_contents 3 int64*,"
    " uint_contents 4 uint32*, uint64_contents 5 uint64*, fp32_contents 6 float*, fp64_contents 7 double*,"
    " bytes_contents 8 bytes*",
    "ModelInferRequest.InferInputTensor": "name 1 string, datatype 2 string, shape 3 int64*,"
    " parameters 4 {InferParameter}, contents 5 InferTensorContents",
    "ModelInferRequest.InferRequestedOutputTensor": "name 1 string, parameters 2 {InferParameter}",
    "ModelInferRequest": "model_name 1 string, model_version 2 string, id 3 string, parameters 4 {InferParameter},"
    " inputs 5 ModelInferRequest.InferInputTensor*, outputs 6 ModelInferRequest.InferRequestedOutputTensor*,"
    " raw_input_contents 7 bytes*",
    "ModelInferResponse.InferOutputTensor": "name 1 string, datatype 2 string, shape 3 int64*,"
    " parameters 4 {InferParameter}, contents 5 InferTensorContents",
    "ModelInferResponse": "model_name 1 string, model_version 2 string, id 3 string, parameters 4 {InferParameter},"
    " outputs 5 ModelInferResponse.InferOutputTensor*, raw_output_contents 6 bytes*",
    "ModelStreamInferResponse": "error_message 1 string, infer_response 2 ModelInferResponse",
    "ModelStatisticsRequest": "name 1 string, version 2 string",
    "ModelStatisticsResponse": "model_stats 1 ModelStatistics*",
    "ModelStatistics": "name 1 string, version 2 string, last_inference 3 uint64, inference_count 4 uint64,"
    " execution_count 5 uint64, inference_stats 6 InferStatistics, batch_stats 7 InferBatchStatistics*,"
    " memory_usage 8 MemoryUsage*, response_stats 9 {InferResponseStatistics}",
    "MemoryUsage": "type 1 string, id 2 int64, byte_size 3 uint64",
    "InferResponseStatistics": "compute_infer 1 StatisticDuration, compute_output 2 StatisticDuration,"
    " success 3 StatisticDuration, fail 4 StatisticDuration, empty_response 5 StatisticDuration,"
    " cancel 6 StatisticDuration",
    "StatisticDuration": "count 1 uint64, ns 2 uint64",
    "InferStatistics": "success 1 StatisticDuration, fail 2 StatisticDuration, queue 3 StatisticDuration,"
    " compute_input 4 StatisticDuration, compute_infer 5 StatisticDuration, compute_output 6 StatisticDuration,"
    " cache_hit 7 StatisticDuration, cache_miss 8 StatisticDuration",
    "InferBatchStatistics": "batch_size 1 uint64, compute_input 2 StatisticDuration,"
    " compute_infer 3 StatisticDuration, compute_output 4 StatisticDuration",
    "ModelRepositoryParameter": "| bool_param 1 bool, int64_param 2 int64, string_param 3 string, bytes_param 4 bytes",
    "RepositoryIndexRequest": "repository_name 1 string, ready 2 bool",
    "RepositoryIndexResponse": "models 1 RepositoryIndexResponse.ModelIndex*",
    "RepositoryIndexResponse.ModelIndex": "name 1 string, version 2 string, state 3 string, reason 4 string",
    "RepositoryModelLoadRequest": "repository_name 1 string, model_name 2 string,"
    " parameters 3 {ModelRepositoryParameter}",
    "RepositoryModelLoadResponse": "",
    "RepositoryModelUnloadRequest": "repository_name 1 string, model_name 2 string,"
    " parameters 3 {ModelRepositoryParameter}",
    "RepositoryModelUnloadResponse": "",
    "HealthCheckRequest": "service 1 string",
    "HealthCheckResponse": "status 1 int32",
}
_DATATYPES: Final = (
    "INVALID", "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64",
    "STRING", "BF16",
)  # fmt: skip
_PACKAGE: Final = "inference"
_Field = descriptor_pb2.FieldDescriptorProto


@cache
def message(name: str) -> Any:
    """Return the class of the message."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"{_PACKAGE}.{name}"))


@cache
def _pool() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="fastgru/inference.proto", package=_PACKAGE, syntax="proto3")
    numbered = file.enum_type.add(name="DataType")
    for number, datatype in enumerate(_DATATYPES):
        numbered.value.add(name=f"TYPE_{datatype}", number=number)
    made: dict[str, Any] = {}
    for name in sorted(MESSAGES, key=lambda name: name.count(".")):
        outer, _, inner = name.rpartition(".")
        made[name] = (made[outer].nested_type if outer else file.message_type).add(name=inner)
        fields = MESSAGES[name]
        if fields.startswith("|"):
            made[name].oneof_decl.add(name="parameter_choice")
        for field in filter(None, fields.removeprefix("|").split(",")):
            _add(made[name], name, *field.split(), one_of=fields.startswith("|"))
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return pool


def _add(descriptor: Any, of: str, name: str, number: str, kind: str, *, one_of: bool) -> None:
    is_map, is_list = kind[0] == "{", kind[-1] == "*"
    kind = kind.strip("{}*")
    label = _Field.LABEL_REPEATED if is_map or is_list else _Field.LABEL_OPTIONAL
    field = descriptor.field.add(name=name, number=int(number), label=label)
    if is_map:
        entry = descriptor.nested_type.add(name="".join(map(str.capitalize, name.split("_"))) + "Entry")
        entry.options.map_entry = True
        _add(entry, f"{of}.{entry.name}", "key", "1", "string", one_of=False)
        _add(entry, f"{of}.{entry.name}", "value", "2", kind, one_of=False)
        kind = f"{of}.{entry.name}"
    if one_of:
        field.oneof_index = 0
    if kind == "DataType" or kind[0].isupper():
        field.type = _Field.TYPE_ENUM if kind == "DataType" else _Field.TYPE_MESSAGE
        field.type_name = f".{_PACKAGE}.{kind}"
    else:
        field.type = getattr(_Field, f"TYPE_{kind.upper()}")
