"""An encoder's config.json, as transformers writes it: all that it says is read, or refused, or changes no vector."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from model_artifacts.recipe.configuration import SourceError, read_json
from model_artifacts.recipe.fields import FieldRules

Activation = Literal["gelu", "silu"]
ACTIVATIONS: dict[str, Activation] = {"gelu": "gelu", "silu": "silu", "swiglu": "silu"}  # as Nomic's own code calls it
NOMIC_ACTIVATION = "hidden_act", "activation_function"
FULL, SLIDING = "full_attention", "sliding_attention"

# fmt: off
# Versions, training, sizes that the weights have as well, heads for other tasks, ways to compute the same.
WITHOUT_EFFECT = {
    "_attn_implementation", "_attn_implementation_autoset", "_commit_hash", "_name_or_path", "architectures",
    "attention_probs_dropout_prob", "attn_implementation", "auto_map", "bos_token_id",
    "chunk_size_feed_forward", "classifier_dropout", "cls_token_id", "directionality", "dtype", "eos_token_id",
    "finetuning_task", "gradient_checkpointing", "hidden_dropout_prob", "hidden_size", "id2label",
    "initializer_range", "intermediate_size", "label2id", "mask_token_id", "model_max_length", "num_labels",
    "output_attentions", "output_hidden_states", "output_past", "pad_token_id", "pooler_fc_size",
    "pooler_num_attention_heads", "pooler_num_fc_layers", "pooler_size_per_head", "pooler_type", "problem_type",
    "relative_attention_num_buckets", "return_dict", "sep_token_id", "task_specific_params",
    "tie_word_embeddings", "tokenizer_class", "torch_dtype", "torchscript", "transformers_version",
    "type_vocab_size", "unk_token_id", "use_cache", "vocab_size",
}
# FieldRules that have to say what the recipe builds, if they are there.
REQUIRED: dict[str, Any] = {"is_decoder": False, "is_encoder_decoder": False, "add_cross_attention": False}
BERT_READ = {"num_hidden_layers", "num_attention_heads", "layer_norm_eps", "max_position_embeddings"}
BERT_REQUIRED = {"hidden_act": "gelu", "position_embedding_type": "absolute", "pruned_heads": {}}
NOMIC_READ = {  # under transformers' names, and under Nomic's own
    "num_hidden_layers", "num_attention_heads", "layer_norm_eps", "max_position_embeddings", "head_dim",
    "hidden_act", "rope_parameters", "n_layer", "n_head", "layer_norm_epsilon", "n_positions",
    "activation_function", "rotary_emb_base",
}
NOMIC_REQUIRED = {
    "causal": False,
    "mlp_fc1_bias": False,
    "mlp_fc2_bias": False,
    "parallel_block": False,
    "parallel_block_tied_norm": False,
    "prenorm": False,
    "qkv_proj_bias": False,
    "rotary_emb_fraction": 1.0,
    "rotary_emb_interleaved": False,
    "rotary_emb_scale_base": None,
    "rotary_scaling_factor": None,
    "scale_attn_by_inverse_layer_idx": False,
    "scale_attn_weights": True,
    "use_rms_norm": False,
}
NOMIC_WITHOUT_EFFECT = {
    "attn_pdrop", "dense_seq_output", "embd_pdrop", "fused_bias_fc", "fused_dropout_add_ln",
    "max_trained_positions", "n_embd", "n_inner", "pad_vocab_size_multiple", "reorder_and_upcast_attn",
    "resid_pdrop", "summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type",
    "summary_use_proj", "use_flash_attn", "use_xentropy",
}
MODERN_READ = {
    "num_hidden_layers", "num_attention_heads", "norm_eps", "max_position_embeddings", "hidden_activation",
    "local_attention", "layer_types", "global_attn_every_n_layers", "rope_parameters", "global_rope_theta",
    "local_rope_theta",
}
MODERN_REQUIRED = {"attention_bias": False, "mlp_bias": False, "norm_bias": False, "rope_scaling": None}
MODERN_WITHOUT_EFFECT = {
    "attention_dropout", "classifier_activation", "classifier_bias", "classifier_pooling", "decoder_bias",
    "deterministic_flash_attn", "embedding_dropout", "initializer_cutoff_factor", "layer_norm_eps",
    "mlp_dropout", "position_embedding_type", "reference_compile", "repad_logits_with_grad",
    "sparse_pred_ignore_index", "sparse_prediction",
}
# fmt: on


BERT = FieldRules(BERT_READ, REQUIRED | BERT_REQUIRED, WITHOUT_EFFECT)
FIELDS = {  # by the model_type of transformers
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "mpnet"), BERT),
    "nomic_bert": FieldRules(NOMIC_READ, REQUIRED | NOMIC_REQUIRED, WITHOUT_EFFECT | NOMIC_WITHOUT_EFFECT),
    "modernbert": FieldRules(MODERN_READ, REQUIRED | MODERN_REQUIRED, WITHOUT_EFFECT | MODERN_WITHOUT_EFFECT),
}


@dataclass(frozen=True, slots=True)
class Rotary:
    """What an encoder with rotary positions and gated layers has besides; the tuples have an entry for each layer.

    bases       the base of the rotations' angles (theta)
    windows     how many tokens before and behind its own a token attends to; None for all
    activation  of the gate
    """

    bases: tuple[float, ...]
    windows: tuple[int | None, ...]
    activation: Activation


@dataclass(frozen=True, slots=True)
class Shape:
    """What a config.json says about an encoder; `positions` is the number of tokens that it was made for."""

    model_type: str
    layers: int
    heads: int
    layer_norm_epsilon: float
    positions: int
    rotary: Rotary | None = None


def read_shape(path: Path) -> Shape:
    """Read a config.json.

    Raises:
        SourceError: it describes something that the recipe does not build, or has an unknown field.
    """
    config = read_json(path)
    model_type = config.pop("model_type", "bert")
    if model_type not in FIELDS:
        raise SourceError(f"{path}: model_type is {model_type!r}; this recipe builds {', '.join(FIELDS)}")
    FIELDS[model_type].check(path, config)
    layers = _read(path, config, "num_hidden_layers", "n_layer")
    heads = _read(path, config, "num_attention_heads", "n_head")
    if (config.get("head_dim") or 0) * heads not in (0, config.get("hidden_size")):
        raise SourceError(f"{path}: head_dim is {config['head_dim']}; this recipe builds hidden_size / {heads} heads")
    rotary = {"nomic_bert": _nomic, "modernbert": _modern}.get(model_type)
    return Shape(
        model_type=model_type,
        layers=layers,
        heads=heads,
        layer_norm_epsilon=_epsilon(path, config, model_type),
        # Nomic's files may say for how many the weights were trained, and for how many the model is used.
        positions=config.get("n_positions") or _read(path, config, "max_position_embeddings"),
        rotary=rotary(path, config, layers) if rotary else None,
    )


def _read(path: Path, config: Mapping[str, Any], *names: str, default: object = None) -> Any:
    """Return the value of a field, which may have several names.

    Raises:
        SourceError: it is missing and has no default, or has two values.
    """
    values = [config[name] for name in names if config.get(name) is not None]
    if not values and default is None:
        raise SourceError(f"{path}: it has no {names[0]}")
    if any(value != values[0] for value in values):
        raise SourceError(f"{path}: {' and '.join(names)} differ")
    return values[0] if values else default


def _epsilon(path: Path, config: Mapping[str, Any], model_type: str) -> float:
    if model_type == "modernbert":  # has layer_norm_eps as well, which is not read there either
        return float(_read(path, config, "norm_eps", default=1e-5))
    return float(_read(path, config, "layer_norm_eps", "layer_norm_epsilon", default=1e-12))


def _nomic(path: Path, config: Mapping[str, Any], layers: int) -> Rotary:
    """Read what a NomicBERT has besides BERT."""
    stated = config.get("rope_parameters")
    bases = {"rope_theta": _base(path, stated) if stated else None, "rotary_emb_base": config.get("rotary_emb_base")}
    named = {name: ACTIVATIONS.get(str(config.get(name)), config.get(name)) for name in NOMIC_ACTIVATION}
    return Rotary(
        bases=(float(_read(path, bases, *bases, default=1000.0)),) * layers,
        windows=(None,) * layers,
        activation=_activation(path, "hidden_act", _read(path, named, *named, default="silu")),
    )


def _modern(path: Path, config: Mapping[str, Any], layers: int) -> Rotary:
    """Read what a ModernBERT has besides BERT."""
    every = config.get("global_attn_every_n_layers") or 3
    kinds = config.get("layer_types") or [SLIDING if layer % every else FULL for layer in range(layers)]
    if len(kinds) != layers or not {FULL, SLIDING}.issuperset(kinds):
        raise SourceError(
            f"{path}: layer_types is {json.dumps(kinds)}; this recipe builds {layers} {FULL} or {SLIDING}"
        )
    older = {FULL: config.get("global_rope_theta") or 160_000.0, SLIDING: config.get("local_rope_theta") or 10_000.0}
    stated = config.get("rope_parameters") or {}
    bases = {kind: _base(path, {"rope_theta": older[kind], **(stated.get(kind) or {})}) for kind in older}
    reach = _read(path, config, "local_attention", default=128) // 2
    return Rotary(
        bases=tuple(bases[kind] for kind in kinds),
        windows=tuple(reach if kind == SLIDING else None for kind in kinds),
        activation=_activation(path, "hidden_activation", config.get("hidden_activation", "gelu")),
    )


def _activation(path: Path, field: str, name: str) -> Activation:
    if name not in ACTIVATIONS:
        raise SourceError(f"{path}: {field} is {name!r}; this recipe builds {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def _base(path: Path, parameters: Mapping[str, Any]) -> float:
    """Return the base of the rotations' angles (theta)."""
    others = {name: value for name, value in parameters.items() if name != "rope_theta"}
    if others not in ({}, {"rope_type": "default"}):
        raise SourceError(f"{path}: rope_parameters are {json.dumps(parameters)}; this recipe builds only rope_theta")
    return float(parameters["rope_theta"])
