"""An issuer of users' tokens: its key, made for this run, and the two documents that the API's authorizer reads."""

import http.server
import json
import time

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from servers import Server

AUDIENCE = "nightshift-emulated"


def _key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Issuer:
    """Signs tokens, and serves the public half of its key."""

    def __init__(self):
        self._key, self._others_key = _key(), _key()
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key()))
        keys = {"keys": [public | {"kid": "of-this-run", "use": "sig", "alg": "RS256"}]}

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(handler):
                documents = {
                    "/.well-known/openid-configuration": {"issuer": self.url, "jwks_uri": f"{self.url}/keys"},
                    "/keys": keys,
                }
                body = json.dumps(documents.get(handler.path)).encode()
                handler.send_response(200 if handler.path in documents else 404)
                handler.send_header("content-type", "application/json")
                handler.send_header("content-length", str(len(body)))
                handler.end_headers()
                handler.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = Server(Handler)
        self.url = f"http://{self._server.address}"

    def token(self, user, forged=False, **claims):
        """A user's token, good for ten minutes unless `claims` says otherwise; `forged`: signed with another key."""
        now = int(time.time())
        claims = {"iss": self.url, "aud": AUDIENCE, "sub": user, "iat": now - 5, "exp": now + 600} | claims
        claims = {name: value for name, value in claims.items() if value is not None}
        key = self._others_key if forged else self._key
        return jwt.encode(claims, key, algorithm="RS256", headers={"kid": "of-this-run"})

    def stop(self):
        self._server.stop()
