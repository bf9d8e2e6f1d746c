"""A client of the API that shares no code with Duocast: grpcio, and the server's own reflection for the messages.

foreign.py TARGET CA TOKEN_FILE RECORD: commands as JSON lines on standard input, answers and events as JSON lines on standard
output. Every byte of every message that the server sent, decrypted, is appended to RECORD.

    {"id": 1, "method": "CallService/PlaceCall", "body": {"sessionId": "..."}}   a unary call; "metadata": {"authorization": ""}
    {"id": 2, "subscribe": {"deviceId": "watch"}}                              opens the stream; its events come as {"event": ...}
    {"id": 3, "quit": true}
"""

import json
import sys
import threading

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

PATIENCE_SECONDS = 15
PACKAGE = "duocast.v1."


class Client:
    def __init__(self, target, ca, token, record):
        options = [("grpc.use_local_subchannel_pool", 1)]
        with open(ca, "rb") as pem:
            credentials = grpc.ssl_channel_credentials(pem.read())
        self.channel = grpc.secure_channel(target, credentials, options)
        database = ProtoReflectionDescriptorDatabase(self.channel)
        self.pool = descriptor_pool.DescriptorPool(database)
        self.token = token
        self.record = open(record, "ab", buffering=0)
        self.lock = threading.Lock()

    def say(self, message):
        with self.lock:
            print(json.dumps(message), flush=True)

    def received(self, raw):
        with self.lock:
            self.record.write(raw + b"\n")

    def method(self, path):
        service, name = path.split("/")
        try:
            found = self.pool.FindServiceByName(PACKAGE + service).methods_by_name[name]
        except grpc.RpcError as error:
            raise KeyError(path) from error
        answer = message_factory.GetMessageClass(found.output_type)

        def read(raw):
            self.received(raw)
            return answer.FromString(raw)

        return message_factory.GetMessageClass(found.input_type), f"/{PACKAGE}{service}/{name}", read

    def call(self, command):
        request, path, read = self.method(command["method"])
        body = json_format.ParseDict(command.get("body", {}), request())
        call = self.channel.unary_unary(path, request_serializer=request.SerializeToString, response_deserializer=read)
        answer = call(body, timeout=PATIENCE_SECONDS, metadata=self.metadata(command))
        return json_format.MessageToDict(answer)

    def metadata(self, command):
        given = {"authorization": f"Bearer {self.token}", **command.get("metadata", {})}
        return [(key, value) for key, value in given.items() if value]

    def subscribe(self, command):
        request, path, read = self.method("CallService/Subscribe")
        body = json_format.ParseDict(command["subscribe"], request())
        stream = self.channel.unary_stream(path, request_serializer=request.SerializeToString, response_deserializer=read)
        events = stream(body, metadata=self.metadata(command))
        try:
            for event in events:
                self.say({"event": json_format.MessageToDict(event)})
        except grpc.RpcError as error:
            self.received((error.details() or "").encode())
            self.say({"over": error.code().name})

    def handle(self, command):
        try:
            answer = {"ok": self.call(command)}
        except grpc.RpcError as error:
            # What an error says reached the client as well.
            details = dict(error.trailing_metadata() or {}).get("grpc-status-details-bin", b"")
            self.received((error.details() or "").encode() + b"\n" + details)
            answer = {"error": error.code().name, "says": error.details()}
        except KeyError as error:
            answer = {"error": "UNIMPLEMENTED", "says": str(error)}
        self.say({"id": command["id"], **answer})


def main():
    target, ca, token_file, record = sys.argv[1:]
    with open(token_file) as file:
        client = Client(target, ca, file.read().strip(), record)
    for line in sys.stdin:
        command = json.loads(line)
        if command.get("quit"):
            break
        work = client.subscribe if "subscribe" in command else client.handle
        threading.Thread(target=work, args=[command], daemon=True).start()
    client.channel.close()


if __name__ == "__main__":
    main()
