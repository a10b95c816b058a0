"""The targets of every model: made from its configuration, with benches, limits and connections that outlive it."""

import logging
from collections.abc import Callable
from typing import Final
from weakref import WeakValueDictionary

from processors.limits.backend import Backend
from processors.limits.limiter import Limiter
from processors.per_config import PerConfig
from processors.providers.adapters import adapter_of, transport_of
from processors.providers.authorisers import Resolver
from processors.providers.base import Adapter
from processors.providers.bench import Bench, Benches
from processors.providers.call import Transport
from processors.providers.pool import NoTarget, Pool, Target
from processors.providers.sessions import Sessions
from schemas.config import ApiKey, Config, Deployment, KeyLimits, Model, Provider, RateLimits
from streams import metrics
from streams.settings import resolve_document, resolve_secret

_log = logging.getLogger(__name__)
_NO_LIMIT: Final = 1_000_000_000
RESOLVER: Final = Resolver(resolve_secret, resolve_document)


class Connection:
    """See processors.providers.pool.Connection."""

    def __init__(self, name: str, make: Callable[[], Transport]) -> None:
        self._name, self._make = name, make
        self._made: Transport | None = None

    def transport(self) -> Transport:
        if self._made is None:
            try:
                self._made = self._make()
            except ValueError as error:
                kind = "connection" if str(error).startswith("base_url") else "auth"
                metrics.CALL_BENCHED.labels(self._name, "", kind).inc()
                _log.warning("providers.%s can't be called: %s", self._name, error)
                raise NoTarget(kind, f"providers.{self._name}: {error}") from error
        return self._made

    def drop(self) -> None:
        self._made = None


class Targets:
    """Gives the pool of a model under a configuration. Pools go with their configuration, connections with their pools.

    What a key or a deployment has coming to it (benches, limits) is shared by all models and configurations of the
    worker, and stays. `changed` is called where something that others may wait for has changed.
    """

    def __init__(self, sessions: Sessions, limits: Backend, resolver: Resolver = RESOLVER) -> None:
        self._sessions, self._limits, self._resolver = sessions, limits, resolver
        self._pools: PerConfig[dict[str, Pool]] = PerConfig(lambda config: {})
        self._benches: dict[tuple[str, ...], Bench] = {}
        self._limiters: dict[tuple[str, str], Limiter] = {}
        self._limits_told: dict[tuple[str, str], RateLimits] = {}
        self._connections: WeakValueDictionary[tuple[str, str | None], Connection] = WeakValueDictionary()
        self._adapters: WeakValueDictionary[str, Adapter] = WeakValueDictionary()
        self.changed: list[Callable[[], None]] = []

    def pool(self, config: Config, model_id: str) -> Pool:
        """The pool of a model, which the configuration has."""
        pools = self._pools.of(config)
        if model_id not in pools:
            model = config.models[model_id]
            targets = [target for place in model.places for target in self._targets(config, model, place)]
            pools[model_id] = Pool(targets)
        return pools[model_id]

    def obey(self, config: Config) -> None:
        """From now on keys have the limits of this configuration, whichever one a task was made under."""
        self._limits_told = {
            (name, key.secret): _limits_of(key.limits or KeyLimits())  # type: ignore[call-arg]
            for name, provider in config.providers.items()
            for key in provider.keys
        }
        for identity, limiter in self._limiters.items():
            limiter.limits = self._limits_told.get(identity, limiter.limits)
        self.tell_changed()

    def tell_changed(self) -> None:
        """Something changed that others may wait for."""
        for listener in self.changed:
            listener()

    def _targets(self, config: Config, model: Model, place: Deployment) -> list[Target]:
        provider = config.providers[place.provider]
        keys: list[ApiKey | None] = [*provider.keys] if provider.auth_type == "key" else []
        keys = keys or [None]
        return [self._target(provider, model, place, key, place.weight / len(keys)) for key in keys]

    def _target(
        self, provider: Provider, model: Model, place: Deployment, key: ApiKey | None, share: float
    ) -> Target:
        secret, where = key.secret if key else "", provider.base_url or ""
        of_key, of_place = (place.provider, where, secret), (place.provider, where, place.vendor_model)
        return Target(
            deployment=place,
            key=key.name if key else None,
            model=model.at(place),
            adapter=self._adapter(provider),
            connection=self._connection(place.provider, provider, key),
            benches=Benches(
                self._bench("key", *of_key),
                self._bench("deployment", *of_place),
                self._bench("both", *of_key, *of_place),
            ),
            limiter=self._limiter(place.provider, key),
            share=share,
        )

    def _bench(self, *identity: str) -> Bench:
        return self._benches.setdefault(identity, Bench())

    def _adapter(self, provider: Provider) -> Adapter:
        told = provider.model_dump_json()
        known = self._adapters.get(told)
        if known is None:
            known = self._adapters[told] = adapter_of(provider)
        return known

    def _connection(self, name: str, provider: Provider, key: ApiKey | None) -> Connection:
        secret = key.secret if key else None
        identity = (provider.model_dump_json(), secret)
        known = self._connections.get(identity)
        if known is None:

            def make() -> Transport:
                return transport_of(provider, secret, self._sessions, self._resolver)

            known = self._connections[identity] = Connection(name, make)
        return known

    def _limiter(self, name: str, key: ApiKey | None) -> Limiter | None:
        if key is None or key.limits is None:
            return None
        identity = name, key.secret
        limits = self._limits_told.get(identity, _limits_of(key.limits))
        known = self._limiters.get(identity)
        if known is None:
            known = self._limiters[identity] = Limiter(f"key.{name}.{key.secret}", limits, self._limits)
        known.limits = limits
        return known


def _limits_of(limits: KeyLimits) -> RateLimits:
    return RateLimits(rpm=limits.rpm, tpm=limits.tpm, concurrency=limits.concurrency or _NO_LIMIT)
