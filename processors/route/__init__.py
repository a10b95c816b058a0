"""The route stage: the single writer of a tenant's requests, as a pure state machine."""
