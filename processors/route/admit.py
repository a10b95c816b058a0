"""A classified request: known already, ended at once, or accepted and sent to a model."""

from processors.route.attempts import first_attempt
from processors.route.candidates import candidates_of
from processors.route.draft import Draft, result_of
from processors.route.emit import Source
from processors.route.finalise import finalise
from processors.route.fingerprints import body_mark, fingerprint, halves, source_mark, source_name
from processors.route.open_request import OpenRequest, echo_of, identifiers_of, to_nanos, unpack
from processors.route.seams import Seams
from processors.route.segment import Entry
from schemas import ids
from schemas.config import Config
from schemas.records import ClassifiedRequest, Problem
from schemas.signals import Invalid


class Admission:
    """One classified request on its way in."""

    def __init__(self, draft: Draft, record: ClassifiedRequest, config: Config, seams: Seams) -> None:
        request = record.request
        self.draft = draft
        self.record = record
        self.config = config
        self.seams = seams
        self.key = fingerprint("request", request.tenant, request.id)
        self.origin = (record.source_topic, record.source_partition, record.source_offset)
        self.open = OpenRequest(
            ids=identifiers_of(request),
            tenant=request.tenant,
            config_version=record.config_version,
            accepted_at=record.accepted_at,
            deadline_ms=record.deadline_at - record.accepted_at,
            body=body_mark(record.body_hash),
            source=source_mark(*self.origin),
            lane=record.lane,
            task_type=record.task_type,
            echo=echo_of(request),
            allowance=to_nanos(request.max_cost),
        )

    def handle(self) -> None:
        """Decide. Raises Invalid("too_old") where the dedupe memory no longer reaches back to the request."""
        if self.known():
            return
        self.accept()
        if self.draft.state.dedupe.cancelled(fingerprint("cancel", self.open.tenant, self.open.request_id)):
            self.end("cancelled", "cancelled", "cancelled before the request arrived")
        elif self.record.problems:
            self.reject(self.record.problems)
        elif self.draft.now >= self.record.deadline_at:
            self.end("expired", "deadline_exceeded", "the deadline had passed when the request was read")
        else:
            self.route()

    def known(self) -> bool:
        """True for a repeat, whether by classify (ignored) or by the client (answered with a notice)."""
        prior = self._prior()
        if prior is None:
            if self.record.accepted_at < self._oldest_accepted():
                raise Invalid(
                    "too_old",
                    f"accepted at {self.record.accepted_at}, before what the dedupe memory still covers"
                    f" ({self._oldest_accepted()}): submit it again as a new request",
                )
            return False
        if prior.source != self.open.source:
            self._notice("duplicate" if prior.body == self.open.body else "conflict", prior)
        return True

    def _oldest_accepted(self) -> int:
        return max(self.draft.state.dedupe.watermark, self.draft.now - self.draft.retention_ms)

    def _prior(self) -> Entry | None:
        dedupe = self.draft.state.dedupe
        if (prior := dedupe.find(self.key)) is not None:
            return prior
        if (packed := self.draft.state.requests.get(self.key)) is not None:  # open for longer than remembered
            known = unpack(packed)
            return Entry(*halves(self.key), known.body, known.source)
        named = self.record.request.idempotency_key
        return dedupe.find(fingerprint("key", self.open.tenant, named)) if named else None

    def _notice(self, kind: str, prior: Entry) -> None:
        """Tell the client once for each repeat of his, also where classify repeats the repeat."""
        draft, open_ = self.draft, self.open
        origin = source_name(Source(*self.origin, 0))
        print_ = fingerprint("notice", open_.tenant, origin)
        if draft.state.dedupe.find(print_) is not None:
            return
        draft.remember(Entry(*halves(print_)), draft.now)
        event_id = ids.event_id(open_.tenant, open_.request_id, f"{kind}.{origin}")
        notice = result_of(open_, kind, kind, event_id, draft.now)
        notice.original_request_id = prior.original or open_.request_id
        if kind == "conflict":
            notice.error_class = "conflict"
            notice.error_message = (
                f"request {notice.original_request_id!r} has the same id or idempotency key and another body:"
                " give this one an id and key of its own"
            )
        draft.result(notice)
        details: dict[str, object] = {"original_request_id": notice.original_request_id, "source": origin}
        draft.audit_request(kind, open_, status=kind, details=details, mark=f".{origin}")

    def accept(self) -> None:
        """Count and remember the request."""
        open_, named = self.open, self.record.request.idempotency_key
        self.draft.count_accepted()
        entry = Entry(*halves(self.key), open_.body, open_.source)
        self.draft.remember(entry, open_.accepted_at, is_request=True)
        if named:
            print_ = fingerprint("key", open_.tenant, named)
            entry = Entry(*halves(print_), open_.body, open_.source, open_.request_id)
            self.draft.remember(entry, open_.accepted_at, is_request=True)

    def route(self) -> None:
        """Find the candidates and issue the first attempt, or reject."""
        found = candidates_of(self.record, self.config)
        if isinstance(found, Problem):
            self.reject([found])
            return
        verdict = self.seams.policy.review(self.record, found[0], self.config)
        if verdict.problems or not verdict.candidates:
            message = "the policy permits no candidate model: name another"
            self.reject(list(verdict.problems) or [Problem(code="not_permitted", message=message)])
            return
        self.open.candidates = list(verdict.candidates)[:64]
        first = first_attempt(self.draft, self.open, self.record, self.config, self.seams)
        if isinstance(first, Problem):
            self.reject([first])
            return
        task, choice = first
        why = f"{found[1]}: {choice.why}"
        self.audit_accepted({"rule": found[1], "why": why, "worst_case_cost": task.worst_case_cost})
        self.draft.call(task)
        grace_ms = int(self.config.defaults.grace_s * 1000)
        self.draft.keep(self.key, self.open, self.record.deadline_at + grace_ms)

    def reject(self, problems: list[Problem]) -> None:
        """End the request as rejected; every problem says what to fix."""
        message = "; ".join(p.message for p in problems)
        self.end("rejected", problems[0].code, message, problems)

    def end(self, status: str, error_class: str, message: str, problems: list[Problem] | None = None) -> None:
        """End an accepted request at once."""
        self.audit_accepted({"problems": problems} if problems else {})
        finalise(
            self.draft,
            self.key,
            self.open,
            status,
            error_class=error_class,
            message=message,
            problems=problems,
        )

    def audit_accepted(self, more: dict[str, object]) -> None:
        """The request's wide row: whatever was known and decided when it was accepted."""
        record = self.record
        details: dict[str, object] = {
            "source_topic": record.source_topic,
            "source_partition": record.source_partition,
            "source_offset": record.source_offset,
            "input_tokens_estimate": record.input_tokens_estimate,
            "deadline_at": record.deadline_at,
            "candidates": self.open.candidates,
            "idempotency_key": record.request.idempotency_key,
            **more,
        }
        self.draft.audit_request("accepted", self.open, details=details)
