# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: issues JSON Web Tokens with the openssl command.
"""`Issuer` has a key, writes its public half into a JWKS file, and signs tokens."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any, Optional

import secrecy


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def openssl(*arguments: str, input: Optional[bytes] = None) -> bytes:
    done = subprocess.run(["openssl", *arguments], input=input, capture_output=True, timeout=30)
    assert done.returncode == 0, f"openssl {' '.join(arguments)}: {done.stderr.decode()}"
    return done.stdout


class Issuer:
    """Signs with one key of each algorithm that it is asked for."""

    def __init__(self, folder: Path, name: str = "issuer"):
        self.folder = folder
        self.name = name
        self.keys: dict[str, str] = {}

    def key(self, algorithm: str) -> str:
        """The file of the private key for an algorithm."""
        kind = {"R": "rsa", "P": "rsa", "E": "p256" if algorithm == "ES256" else "p384"}[algorithm[0]]
        if kind not in self.keys:
            path = str(self.folder / f"{self.name}-{kind}.key")
            choice = (["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"] if kind == "rsa" else
                      ["-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:P-{kind[1:]}"])  # fmt: skip
            openssl("genpkey", *choice, "-out", path)
            self.keys[kind] = path
        return self.keys[kind]

    def jwk(self, algorithm: str) -> dict[str, str]:
        text = openssl("pkey", "-in", self.key(algorithm), "-noout", "-text_pub").decode()
        if algorithm[0] in "RP":
            modulus = bytes.fromhex("".join(re.findall(r"[0-9a-f]{2}", text.split("Modulus:")[1].split("Exponent")[0])))
            fields = {"kty": "RSA", "n": encode(modulus.lstrip(b"\0")), "e": "AQAB"}
        else:
            point = bytes.fromhex("".join(re.findall(r"[0-9a-f]{2}", text.split("pub:")[1].split("ASN1")[0])))[1:]
            half = len(point) // 2
            fields = {"kty": "EC", "crv": f"P-{algorithm[2:]}", "x": encode(point[:half]), "y": encode(point[half:])}
        return fields | {"kid": f"{self.name}-{fields['kty']}-{fields.get('crv', '')}", "use": "sig"}

    def key_set(self, *algorithms: str) -> str:
        kids = {jwk["kid"]: jwk for jwk in map(self.jwk, algorithms)}
        return json.dumps({"keys": list(kids.values())})

    def sign(self, data: bytes, algorithm: str) -> bytes:
        flags = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"] if algorithm[0] == "P" else []
        signature = openssl("dgst", f"-sha{algorithm[2:]}", "-sign", self.key(algorithm), *flags, input=data)
        if algorithm[0] != "E":
            return signature
        length = 32 if algorithm == "ES256" else 48
        first = signature[4 : 4 + signature[3]]
        second = signature[6 + signature[3] :]
        return b"".join(part.lstrip(b"\0").rjust(length, b"\0") for part in (first, second))

    def token(self, user: str = "alice", algorithm: str = "ES256", seconds: float = 600, **claims: Any) -> str:
        header = {"alg": algorithm, "kid": self.jwk(algorithm)["kid"]} | claims.pop("header", {})
        now = time.time()
        body = {"sub": user, "iat": now, "exp": now + seconds} | claims
        body = {name: value for name, value in body.items() if value is not None}
        signed = ".".join(encode(json.dumps(part).encode()) for part in (header, body))
        signature = encode(self.sign(signed.encode(), algorithm))
        secrecy.keep(signature, f"token of {user}")
        return f"{signed}.{signature}"
