"""What the providers' pages say that no table holds: how each is configured, and what is peculiar to it.

A test reads every example as a configuration.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Prose:
    """The texts of a page. `config` is the part of a configuration that has `providers` and `models`."""

    title: str
    about: str
    config: str
    access: str
    quirks: tuple[str, ...] = ()


_KEYS: Final = (
    "`api_key` is `env:NAME` or `file:PATH`, found where the call workers run. `api_keys` takes several: calls are\n"
    "spread over them, and one that is refused rests."
)
_OPTIONAL_KEY: Final = (
    "A server that wants no key needs no `api_key`. `base_url` ends where `/chat/completions` begins."
)


def _preset(title: str, name: str, about: str, example: str, access: str, *quirks: str) -> tuple[str, Prose]:
    return name, Prose(title, about, example, access, quirks)


def _hosted(name: str, vendor_model: str) -> str:
    return f"""
providers:
  {name}: {{kind: openai, preset: {name}, api_key: env:{name.upper()}_API_KEY}}
models:
  chat: {{provider: {name}, vendor_model: {vendor_model}}}
"""


def _own(name: str, url: str, vendor_model: str) -> str:
    return f"""
providers:
  own: {{kind: openai, preset: {name}, base_url: "{url}"}}
models:
  chat: {{provider: own, vendor_model: "{vendor_model}"}}
"""


PROSE: Final[dict[str, Prose]] = {
    "openai": Prose(
        "OpenAI Chat Completions",
        "OpenAI's own API at `/v1/chat/completions`, and without a preset any server that speaks like it.",
        """
providers:
  openai: {kind: openai, api_key: env:OPENAI_API_KEY, key_limits: {rpm: 500}}
models:
  mini: {provider: openai, vendor_model: gpt-4.1-mini, max_output_tokens: 4096}
""",
        _KEYS,
        (
            "Answers are streamed with `stream_options: {include_usage: true}`, so that usage is the vendor's own.",
            "The output is bounded by `max_completion_tokens`; at an unknown compatible server by `max_tokens`, but for"
            " models that are told to reason.",
            "Reasoning isn't shown by this API and can't go back; [openai-responses](openai-responses.md) does both.",
            "`insufficient_quota` comes as a 429 and is a spend limit all the same: it is never tried again.",
        ),
    ),
    "openai-responses": Prose(
        "OpenAI Responses",
        "OpenAI's API at `/v1/responses`, and servers that speak it. Nothing is stored at the vendor (`store: false`).",
        """
providers:
  openai: {kind: openai-responses, api_key: env:OPENAI_API_KEY}
models:
  thinker: {provider: openai, vendor_model: gpt-5.1, max_output_tokens: 16384}
""",
        _KEYS,
        (
            "Reasoning items come back with their encrypted content and go on unchanged in the next request.",
            "`response.incomplete` ends an answer as `length` or `content_filter`; `response.failed` is a failure.",
            "`max_output_tokens` below 16 is refused by the vendor.",
        ),
    ),
    "azure": Prose(
        "Azure OpenAI",
        "OpenAI's models in Azure. A model's `vendor_model` is the name of its deployment there.",
        """
providers:
  azure: {kind: azure, base_url: "https://my-resource.openai.azure.com"}
  azure-by-key: {kind: azure, base_url: "https://my-other.openai.azure.com", api_key: env:AZURE_OPENAI_KEY}
models:
  chat:
    deployments:
      - {provider: azure, vendor_model: my-deployment, weight: 3}
      - {provider: azure-by-key, vendor_model: my-deployment}
""",
        "Without a key calls are authorised by Entra ID (the extra `azure`): by `auth: {type: entra, tenant_id: …,\n"
        "client_id: …, client_secret: env:…}`, else by what azure-identity finds. A key goes into `api-key`.",
        (
            "Without `api_version` the v1 API is called (`/openai/v1/chat/completions`); with a dated one the"
            " deployment is in the path (`/openai/deployments/NAME/…?api-version=…`).",
            "With an `api_version` before 2024-09 usage isn't told: it is estimated and flagged.",
        ),
    ),
    "anthropic": Prose(
        "Anthropic Messages",
        "Anthropic's API at `/v1/messages`, and servers that speak it.",
        """
providers:
  claude: {kind: anthropic, api_keys: [env:CLAUDE_KEY_A, env:CLAUDE_KEY_B]}
models:
  sonnet: {provider: claude, vendor_model: claude-sonnet-4-5, max_output_tokens: 8192}
""",
        _KEYS,
        (
            "Input is told by `message_start`, output by the last `message_delta`: a stream that breaks off between"
            " them is billed by what was told so far, its output estimated.",
            "`overloaded_error` inside a 200 is a failure, and may have been paid.",
            "`pause_turn` ends an answer as `pause`: send the conversation again to go on.",
            "`max_tokens` is always sent, as the vendor wants it. A reasoning budget must be below it.",
        ),
    ),
    "gemini": Prose(
        "Google Gemini",
        "The Gemini API of Google AI Studio (`streamGenerateContent`).",
        """
providers:
  gemini: {kind: gemini, api_key: env:GEMINI_API_KEY}
models:
  flash: {provider: gemini, vendor_model: gemini-2.5-flash, max_output_tokens: 8192}
""",
        _KEYS,
        (
            "Usage is reconciled with `totalTokenCount`: thoughts count as output, cached input apart.",
            "Function calls have no ids in older models: ids are made, and results find their call by name and order.",
            "A blocked prompt (`promptFeedback.blockReason`) is a content filter's failure.",
            "`RESOURCE_EXHAUSTED` waits as long as its `RetryInfo` says.",
        ),
    ),
    "vertex": Prose(
        "Google Vertex AI",
        "Gemini's models in Google Cloud.",
        """
providers:
  vertex: {kind: vertex, project: my-project, location: global}
models:
  flash: {provider: vertex, vendor_model: gemini-2.5-flash, max_output_tokens: 8192}
""",
        "Calls are authorised by Google Cloud (the extra `google`): by `auth: {type: google, credentials: file:PATH}`\n"
        "with the key of a service account, else by what google-auth finds (environment, gcloud, metadata server).",
        (
            "It is the wire of [gemini](gemini.md); what that page says of answers holds here too.",
            "A key of the express mode belongs to another path: `api_key` with `base_url:"
            " https://aiplatform.googleapis.com/v1`.",
        ),
    ),
    "bedrock": Prose(
        "AWS Bedrock",
        "Models of several vendors by one API, `ConverseStream`. `vendor_model` is a model's id or that of an\n"
        "inference profile.",
        """
providers:
  aws: {kind: bedrock, region: eu-central-1}
models:
  sonnet: {provider: aws, vendor_model: "eu.anthropic.claude-sonnet-4-5-20250929-v1:0", max_output_tokens: 8192}
""",
        "Calls are signed (SigV4) by botocore (the extra `aws`), with `auth: {type: aws, access_key_id: env:…,\n"
        "secret_access_key: env:…}` or `profile`, else with what AWS's own tools find. With `api_key` a Bedrock API\n"
        "key is sent instead.",
        (
            "Answers come in event-stream frames, each with its checksums; a broken one is a failure.",
            "An exception inside the stream is a failure of its class, and may have been paid.",
            "What a model takes differs: a message of the vendor's validation names the field.",
        ),
    ),
    "mistral": Prose(
        "Mistral",
        "Mistral's API at `/v1/chat/completions`: like OpenAI's, with differences in messages, ids and errors.",
        """
providers:
  mistral: {kind: mistral, api_key: env:MISTRAL_API_KEY}
models:
  large: {provider: mistral, vendor_model: mistral-large-latest, max_output_tokens: 8192}
""",
        _KEYS,
        (
            "Ids of tool calls have nine letters or digits: those of other vendors are mapped, the same to the same.",
            "`service_tier_capacity_exceeded` comes as a 429 and means that the model is busy, not the key.",
        ),
    ),
    "cohere": Prose(
        "Cohere",
        "Cohere's API of version 2 (`/v2/chat`, `/v2/embed`, `/v2/rerank`).",
        """
providers:
  cohere: {kind: cohere, api_key: env:COHERE_API_KEY}
models:
  command: {provider: cohere, vendor_model: command-a-03-2025, max_output_tokens: 4096}
""",
        _KEYS,
        (
            "A trial key's month that is used up comes as a 429 and is a spend limit.",
            "`ERROR` and `TIMEOUT` as finish reasons are failures, whatever text came before.",
        ),
    ),
    **dict(
        (
            _preset(
                "vLLM", "vllm", "A vLLM server of your own.",
                _own("vllm", "http://gpu-1.internal:8000/v1", "Qwen/Qwen3-8B"), _OPTIONAL_KEY,
                "A stop sequence that was met is told, as `stop_sequence`.",
                "The reasoning budget needs a server that was started with a reasoning configuration.",
            ),
            _preset(
                "llama.cpp", "llama-cpp", "A llama.cpp server of your own (`llama-server`).",
                _own("llama-cpp", "http://127.0.0.1:8080/v1", "any"), _OPTIONAL_KEY,
                "Embeddings and rerank need a server that was started for them.",
                "The same server speaks `openai-responses` and `anthropic` too.",
            ),
            _preset(
                "Ollama", "ollama", "An Ollama server; without `base_url` the one of this machine.",
                _own("ollama", "http://localhost:11434/v1", "llama3.2"), _OPTIONAL_KEY,
                "`top_k` and the context's size belong into the Modelfile.",
            ),
            _preset(
                "Groq", "groq", "Groq's API.", _hosted("groq", "llama-3.3-70b-versatile"), _KEYS,
                "A tool call or JSON that the model got wrong is a failure that may be tried again.",
                "Usage comes in `x_groq` too.",
            ),
            _preset(
                "DeepSeek", "deepseek", "DeepSeek's API.", _hosted("deepseek", "deepseek-v4-flash"), _KEYS,
                "Reasoning goes back beside tool calls only, where the API demands it.",
                "A JSON schema is sent as JSON mode: the answer isn't held to it by the vendor.",
                "Cached input is told as `prompt_cache_hit_tokens`.",
            ),
            _preset(
                "Together", "together", "Together's API.",
                _hosted("together", "meta-llama/Llama-3.3-70B-Instruct-Turbo"), _KEYS,
            ),
            _preset(
                "xAI", "xai", "xAI's API.", _hosted("xai", "grok-4"), _KEYS,
                "Reasoning tokens are counted beside the output; they are added to it, as they are paid for.",
            ),
            _preset(
                "OpenRouter", "openrouter", "OpenRouter's API.",
                _hosted("openrouter", "openai/gpt-4.1-mini"), _KEYS,
                "An error inside a 200 carries an HTTP status as its code and is a failure of its class.",
                "Comment lines of its streams are passed over.",
                "Reasoning goes back as `reasoning_details`, to OpenRouter alone.",
            ),
        )
    ),
}  # fmt: skip
