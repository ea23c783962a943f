"""How the client of the conformance suite gets a token: as a person with a browser does, or with credentials."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qs, urlparse

import httpx2
from mcp.client.auth import OAuthClientProvider
from mcp.client.auth.extensions.client_credentials import (
    ClientCredentialsOAuthProvider,
    PrivateKeyJWTOAuthProvider,
    SignedJWTParameters,
)
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthToken,
)
from pydantic import AnyUrl

_CALLBACK: Final = AnyUrl("http://localhost:3000/callback")
_ABOUT_US: Final = "https://conformance-test.local/client-metadata.json"
"""The address that the suite knows for a client that describes itself."""


class Memory:
    """Where tokens and registrations are kept while the program runs."""

    def __init__(self, client: OAuthClientInformationFull | None = None) -> None:
        self._client = client
        self._tokens: OAuthToken | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self._tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self._tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self._client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self._client = client_info


class Browser:
    """A person who follows the link and says yes."""

    def __init__(self) -> None:
        self._query: dict[str, list[str]] = {}

    async def follow(self, url: str) -> None:
        """Open the page of the authorization server, and keep what it sends the browser back with."""
        async with httpx2.AsyncClient() as http:
            answer = await http.get(url, follow_redirects=False)
        self._query = parse_qs(urlparse(answer.headers["location"]).query)

    async def back(self) -> AuthorizationCodeResult:
        """Return what the browser came back with."""
        first = {name: values[0] for name, values in self._query.items()}
        return AuthorizationCodeResult(code=first["code"], state=first.get("state"), iss=first.get("iss"))


def _registered(context: dict[str, Any]) -> OAuthClientInformationFull | None:
    """Return the registration that the suite hands over, if it does."""
    if "client_id" not in context:
        return None
    secret = context.get("client_secret")
    return OAuthClientInformationFull(
        client_id=context["client_id"],
        client_secret=secret,
        redirect_uris=[_CALLBACK],
        token_endpoint_auth_method="client_secret_basic" if secret else "none",
    )


def _person(url: str, context: dict[str, Any]) -> httpx2.Auth:
    browser = Browser()
    return OAuthClientProvider(
        server_url=url,
        client_metadata=OAuthClientMetadata(
            client_name="hauberk-conformance",
            redirect_uris=[_CALLBACK],
            grant_types=["authorization_code", "refresh_token"],
            response_types=["code"],
        ),
        storage=Memory(_registered(context)),
        redirect_handler=browser.follow,
        callback_handler=browser.back,
        client_metadata_url=_ABOUT_US,
    )


def _signing(url: str, context: dict[str, Any]) -> httpx2.Auth:
    signed = SignedJWTParameters(
        issuer=context["client_id"],
        subject=context["client_id"],
        signing_algorithm=context.get("signing_algorithm", "ES256"),
        signing_key=context["private_key_pem"],
    )
    return PrivateKeyJWTOAuthProvider(
        server_url=url,
        storage=Memory(),
        client_id=context["client_id"],
        assertion_provider=signed.create_assertion_provider(),
    )


def _secret(url: str, context: dict[str, Any]) -> httpx2.Auth:
    return ClientCredentialsOAuthProvider(
        server_url=url,
        storage=Memory(),
        client_id=context["client_id"],
        client_secret=context["client_secret"],
        token_endpoint_auth_method="client_secret_basic",
    )


def http_client(url: str, scenario: str, context: dict[str, Any]) -> httpx2.AsyncClient:
    """Return an HTTP client that gets its token in the way that the scenario is about."""
    ways = {"auth/client-credentials-jwt": _signing, "auth/client-credentials-basic": _secret}
    auth = ways.get(scenario, _person)(url, context)
    return httpx2.AsyncClient(auth=auth, timeout=60.0)
