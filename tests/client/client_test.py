"""A client in Python, as a user would write one: stubs made from proto/, a server started from the shell.

Usage: client_test.py PATH_OF_BLAZON. The last line is "N passed, N failed".
"""

import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import grpc
from google.protobuf import descriptor_pool
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from blazon.v1 import (answer_pb2, answer_pb2_grpc, caption_pb2, caption_pb2_grpc, content_pb2, generation_pb2,
                       generation_pb2_grpc, index_pb2, index_pb2_grpc, model_pb2, model_pb2_grpc)

ROOT = pathlib.Path(__file__).resolve().parents[2]
SERVICES = {f"blazon.v1.{name}Service" for name in ("Caption", "Answer", "Generation", "Index", "Model")}
START_SECONDS = 120


class Server:
    """`blazon serve` on a free port; its address is read from what it says."""

    def __init__(self, blazon, data):
        self.process = subprocess.Popen(
            [blazon, "serve", "--address", "127.0.0.1:0", "--data", data, "--models", str(ROOT / "models")],
            stderr=subprocess.PIPE, text=True, cwd=ROOT)
        self.log = []
        self._listening = threading.Event()
        self.address = None
        threading.Thread(target=self._read, daemon=True).start()
        if not self._listening.wait(START_SECONDS) or self.address is None:
            raise RuntimeError("the server did not start:\n" + "".join(self.log))

    def _read(self):
        for line in self.process.stderr:
            self.log.append(line)
            found = re.search(r"listening on (\S+:\d+)", line)
            if found:
                self.address = found.group(1)
                self._listening.set()
        self._listening.set()

    def stop(self):
        """SIGTERM; returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def details(error, kind):
    """The detail of this kind that an error carries; fails when there is none."""
    status = status_pb2.Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    for detail in status.details:
        message = kind()
        if detail.Unpack(message):
            return message
    raise AssertionError(f"no {kind.DESCRIPTOR.full_name} in {status}")


class ClientTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.channel = grpc.insecure_channel(SERVER.address)
        health = health_pb2_grpc.HealthStub(cls.channel)
        deadline = time.monotonic() + START_SECONDS
        states = set()
        while time.monotonic() < deadline:
            states.add(health.Check(health_pb2.HealthCheckRequest()).status)
            if health_pb2.HealthCheckResponse.SERVING in states:
                break
            time.sleep(0.1)
        if health_pb2.HealthCheckResponse.SERVING not in states:
            raise RuntimeError("the server did not become healthy:\n" + "".join(SERVER.log))

    @classmethod
    def tearDownClass(cls):
        cls.channel.close()

    def test_reflection_lists_the_services(self):
        database = ProtoReflectionDescriptorDatabase(self.channel)
        self.assertLessEqual(SERVICES, set(database.get_services()))
        pool = descriptor_pool.DescriptorPool(database)
        service = pool.FindServiceByName("blazon.v1.CaptionService")
        self.assertEqual([method.name for method in service.methods], ["Caption", "StreamCaption", "CaptionImages"])

    def test_health_of_each_service(self):
        health = health_pb2_grpc.HealthStub(self.channel)
        for service in SERVICES:
            reply = health.Check(health_pb2.HealthCheckRequest(service=service))
            self.assertEqual(reply.status, health_pb2.HealthCheckResponse.SERVING, service)
        with self.assertRaises(grpc.RpcError) as caught:
            health.Check(health_pb2.HealthCheckRequest(service="no.such.Service"))
        self.assertEqual(caught.exception.code(), grpc.StatusCode.NOT_FOUND)

    def test_streamed_caption(self):
        stub = caption_pb2_grpc.CaptionServiceStub(self.channel)
        image = content_pb2.Image(data=(ROOT / "assets/photos/cat.jpg").read_bytes())
        events = list(stub.StreamCaption(caption_pb2.StreamCaptionRequest(image=image)))
        self.assertEqual(events[0].WhichOneof("event"), "labels")
        self.assertTrue(events[0].labels.labels)
        done = events[-1].done
        self.assertEqual("".join(event.text_delta for event in events), done.text)
        self.assertTrue(done.text)
        self.assertGreater(done.usage.image_tokens, 0)
        self.assertEqual(stub.Caption(caption_pb2.CaptionRequest(image=image)).text, done.text)

    def test_answer_with_sources(self):
        index = index_pb2_grpc.IndexServiceStub(self.channel)
        index.CreateCollection(index_pb2.CreateCollectionRequest(collection="documents"))

        def messages():
            yield index_pb2.PutDocumentsRequest(collection="documents")
            for file in sorted((ROOT / "assets/documents").iterdir()):
                data = file.read_bytes()
                header = index_pb2.DocumentHeader(path=file.name, size_bytes=len(data))
                yield index_pb2.PutDocumentsRequest(document=header)
                yield index_pb2.PutDocumentsRequest(data=data)

        results = index.PutDocuments(messages()).results
        self.assertEqual({result.state for result in results}, {index_pb2.PUT_STATE_ADDED})

        stub = answer_pb2_grpc.AnswerServiceStub(self.channel)
        request = answer_pb2.StreamAskRequest(question="How long is the kettle's warranty?", collection="documents")
        events = list(stub.StreamAsk(request))
        sources = events[0].sources
        self.assertEqual(sources.sources[0].path, "kettle-warranty.txt")
        self.assertTrue(sources.sentences)
        done = events[-1].done
        self.assertEqual("".join(event.text_delta for event in events), done.text)
        self.assertNotEqual(done.outcome, answer_pb2.ANSWER_OUTCOME_NO_ANSWER)
        for sentence in done.sentences:
            chunk = done.sources[sentence.source]
            begin = sentence.begin_byte - chunk.begin_byte
            text = chunk.text.encode()[begin:begin + sentence.end_byte - sentence.begin_byte].decode()
            self.assertEqual(text, sentence.text)

    def test_generated_text(self):
        stub = generation_pb2_grpc.GenerationServiceStub(self.channel)
        prompt = generation_pb2.Prompt(parts=[content_pb2.Part(text="The capital of France is")])
        options = generation_pb2.GenerationOptions(max_new_tokens=12)
        events = list(stub.StreamGenerate(generation_pb2.StreamGenerateRequest(prompt=prompt, options=options)))
        text = "".join(event.text_delta for event in events)
        self.assertEqual(text, stub.Generate(generation_pb2.GenerateRequest(prompt=prompt, options=options)).text)
        self.assertIn("Paris", text)

    def test_models(self):
        stub = model_pb2_grpc.ModelServiceStub(self.channel)
        models = stub.ListModels(model_pb2.ListModelsRequest()).models
        self.assertEqual({model.state for model in models}, {model_pb2.MODEL_STATE_LOADED})

    def test_errors_carry_details(self):
        stub = generation_pb2_grpc.GenerationServiceStub(self.channel)
        prompt = generation_pb2.Prompt(parts=[content_pb2.Part(text="x")])
        with self.assertRaises(grpc.RpcError) as caught:
            stub.Generate(generation_pb2.GenerateRequest(prompt=prompt, options=generation_pb2.GenerationOptions(top_p=7)))
        error = caught.exception
        self.assertEqual(error.code(), grpc.StatusCode.INVALID_ARGUMENT)
        info = details(error, error_details_pb2.ErrorInfo)
        self.assertEqual((info.domain, info.reason), ("blazon.v1", "INVALID_FIELD"))
        bad = details(error, error_details_pb2.BadRequest)
        self.assertEqual(bad.field_violations[0].field, "options.top_p")

        images = caption_pb2_grpc.CaptionServiceStub(self.channel)
        with self.assertRaises(grpc.RpcError) as caught:
            images.Caption(caption_pb2.CaptionRequest(image=content_pb2.Image(data=b"no picture")))
        self.assertEqual(caught.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
        self.assertEqual(details(caught.exception, error_details_pb2.ErrorInfo).reason, "IMAGE_REFUSED")


def main():
    global SERVER
    with tempfile.TemporaryDirectory() as data:
        SERVER = Server(sys.argv[1], data)
        try:
            result = unittest.TextTestRunner(verbosity=2).run(unittest.defaultTestLoader.loadTestsFromTestCase(ClientTest))
        finally:
            status = SERVER.stop()
    failed = len(result.failures) + len(result.errors)
    passed = result.testsRun - failed
    if status == 0:
        passed += 1  # the server stopped cleanly on SIGTERM
    else:
        failed += 1
        print(f"the server's exit status is {status}:\n" + "".join(SERVER.log), file=sys.stderr)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
