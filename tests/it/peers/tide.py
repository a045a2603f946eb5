"""The service that both sides of the gRPC tests know: its messages are made when it is loaded, so that nothing has to be generated."""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

NAME = "tide.Tide"


def _file():
    file = descriptor_pb2.FileDescriptorProto(name="tide.proto", package="tide", syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto
    say = file.message_type.add(name="Say")
    fields = [("text", kinds.TYPE_STRING), ("count", kinds.TYPE_INT32), ("fail", kinds.TYPE_INT32), ("data", kinds.TYPE_BYTES)]
    for number, (name, kind) in enumerate(fields, 1):
        say.field.add(name=name, number=number, type=kind, label=kinds.LABEL_OPTIONAL)
    service = file.service.add(name="Tide")
    for name, up, down in [
        ("Echo", False, False),
        ("Gather", True, False),
        ("Count", False, True),
        ("Chat", True, True),
        ("Watch", False, True),
        ("Wait", False, False),
        ("Refuse", True, False),
    ]:
        service.method.add(
            name=name, input_type=".tide.Say", output_type=".tide.Say", client_streaming=up, server_streaming=down
        )
    return file


POOL = descriptor_pool.Default()
POOL.AddSerializedFile(_file().SerializeToString())
Say = message_factory.GetMessageClass(POOL.FindMessageTypeByName("tide.Say"))
