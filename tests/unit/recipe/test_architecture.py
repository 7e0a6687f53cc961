"""What an encoder's config.json may say; each other field or value is refused by its name."""

import re
from pathlib import Path
from typing import Any

import pytest

from model_artifacts.recipe.architecture import FIELDS, Rotary, read_shape
from model_artifacts.recipe.configuration import SourceError
from model_artifacts.recipe.weights import ARCHITECTURES
from tests import tiny

MINIMAL = {"num_hidden_layers": 4, "num_attention_heads": 12, "max_position_embeddings": 512}
# The names of nomic-embed-text-v1.5's own code.
NOMIC = {"model_type": "nomic_bert", "n_layer": 4, "n_head": 12, "n_positions": 8192, "activation_function": "swiglu"}
MODERN = {"model_type": "modernbert", **MINIMAL}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config.json"


def write(path: Path, **config: Any) -> Path:
    tiny.write_json(path, config)
    return path


def test_the_fields_that_are_read_are_these():
    shared = {"max_position_embeddings", "num_attention_heads", "num_hidden_layers"}
    bert, nomic, modern = FIELDS["bert"], FIELDS["nomic_bert"], FIELDS["modernbert"]
    assert FIELDS.keys() == ARCHITECTURES.keys()
    assert all(FIELDS[relative] is bert for relative in ("roberta", "xlm-roberta", "mpnet"))
    assert bert.read == shared | {"layer_norm_eps"}
    own = {"n_layer", "n_head", "n_positions", "layer_norm_epsilon", "activation_function", "rotary_emb_base"}
    assert nomic.read == shared | own | {"layer_norm_eps", "head_dim", "hidden_act", "rope_parameters"}
    older = {"global_attn_every_n_layers", "global_rope_theta", "local_rope_theta"}
    newer = {"layer_types", "rope_parameters"}
    assert modern.read == shared | older | newer | {"norm_eps", "hidden_activation", "local_attention"}


@pytest.mark.parametrize("model_type", FIELDS)
def test_an_unknown_field_is_refused(path, model_type):
    write(path, model_type=model_type, **MINIMAL, quantization_config={})
    with pytest.raises(SourceError, match=f"{path}: unknown field quantization_config; remove what changes no vector"):
        read_shape(path)


@pytest.mark.parametrize(
    ("model_type", "field"), [(kind, field) for kind, fields in FIELDS.items() for field in fields.required]
)
def test_a_field_that_asks_for_something_else_is_refused(path, model_type, field):
    allowed = dict.fromkeys(FIELDS[model_type].without_effect, 1)
    read_shape(write(path, model_type=model_type, **MINIMAL, **allowed, **{field: FIELDS[model_type].required[field]}))
    write(path, model_type=model_type, **MINIMAL, **{field: "other"})
    with pytest.raises(SourceError, match=f'{path}: {field} is "other"; this recipe builds '):
        read_shape(path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"num_attention_heads": 2}, "it has no num_hidden_layers"),
        ({"model_type": "t5"}, "model_type is 't5'; this recipe builds bert, roberta, "),
        (NOMIC | {"num_hidden_layers": 5}, "num_hidden_layers and n_layer differ"),
        (NOMIC | {"hidden_act": "gelu"}, "hidden_act and activation_function differ"),
        (NOMIC | {"activation_function": "glu"}, "hidden_act is 'glu'; this recipe builds gelu, silu, swiglu"),
        (NOMIC | {"rope_parameters": {"rope_theta": 9}, "rotary_emb_base": 8}, "rope_theta and rotary_emb_base differ"),
        (NOMIC | {"rope_parameters": {"rope_theta": 9, "rope_type": "yarn"}}, "this recipe builds only rope_theta"),
        (NOMIC | {"head_dim": 32, "hidden_size": 768}, "head_dim is 32; this recipe builds hidden_size / 12 heads"),
        (MODERN | {"layer_types": ["full_attention"]}, 'layer_types is ["full_attention"]; this recipe builds 4 full_'),
        (MODERN | {"layer_types": ["other"] * 4}, "this recipe builds 4 full_attention or sliding_attention"),
        (MODERN | {"hidden_activation": "relu"}, "hidden_activation is 'relu'; this recipe builds gelu, silu"),
    ],
)
def test_what_cannot_be_built_is_refused(path, config, message):
    with pytest.raises(SourceError, match=re.escape(f"{path}: ") + ".*" + re.escape(message)):
        read_shape(write(path, **config))


def read_rotary(path: Path, **config: Any) -> Rotary:
    rotary = read_shape(write(path, **config)).rotary
    assert rotary is not None
    return rotary


def test_nomics_own_names_are_read(path):
    config = {**NOMIC, "layer_norm_epsilon": 1e-6, "rotary_emb_base": 500, "max_position_embeddings": 2048}
    shape = read_shape(write(path, **config))
    assert (shape.layers, shape.heads, shape.layer_norm_epsilon, shape.positions) == (4, 12, 1e-6, 8192)
    assert read_rotary(path, **config) == Rotary((500.0,) * 4, (None,) * 4, "silu")
    assert read_rotary(path, **NOMIC, hidden_act="silu", head_dim=64, hidden_size=768).bases == (1000.0,) * 4


def test_modernberts_layers_are_read_from_either_form(path):
    kinds = ["full_attention", "sliding_attention"] * 2
    parameters = {"full_attention": {"rope_theta": 9, "rope_type": "default"}, "sliding_attention": {"rope_theta": 8}}
    newer = read_rotary(path, **MODERN, layer_types=kinds, rope_parameters=parameters, local_attention=64)
    assert newer == Rotary((9.0, 8.0, 9.0, 8.0), (None, 32, None, 32), "gelu")
    older = {"global_attn_every_n_layers": 2, "global_rope_theta": 9, "local_rope_theta": 8}
    assert read_rotary(path, **MODERN, **older, local_attention=64) == newer
    defaults = Rotary((160_000.0, 10_000.0, 10_000.0, 160_000.0), (None, 64, 64, None), "gelu")
    assert read_rotary(path, **MODERN) == defaults
