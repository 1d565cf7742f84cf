"""A client that keeps its texts on the server."""
import grpc


class Client:
    def __init__(self, target, messages, session_messages):
        self.pb = messages[0]
        self.sessions = session_messages
        self.channel = grpc.insecure_channel(target)

    def call(self, service, name, request, response):
        return self.channel.unary_unary(
            f"/chela.v1.{service}/{name}", request_serializer=type(request).SerializeToString,
            response_deserializer=response.FromString)(request, timeout=60)

    def session(self, name, request):
        response = getattr(self.sessions, name + "Response")
        return self.call("SessionService", name, request, response)

    def create(self, name):
        request = self.sessions.CreateSessionRequest()
        request.settings.id = name
        return self.session("CreateSession", request).session

    def generate(self, prompt="", tokens=20, seed=None, **fields):
        request = self.pb.GenerateRequest(**fields)
        if prompt:
            request.prompt = prompt
        request.sampling.max_tokens = tokens
        request.sampling.ignore_eos = True
        if seed is not None:
            request.sampling.seed = seed
        return self.call("GenerationService", "Generate", request, self.pb.GenerateResponse)
