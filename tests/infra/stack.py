"""The template as CloudFormation sees it: translated by SAM, with conditions and parameters resolved."""

import json
import os
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samcli.yamlhelper import yaml_parse
from samtranslator.translator.transform import transform

ROOT = Path(__file__).parents[2]
TEMPLATE = (ROOT / "template.yaml").read_text()
SAMCONFIG = tomllib.loads((ROOT / "samconfig.toml").read_text())
ENVIRONMENTS = {
    name: dict(pair.split("=", 1) for pair in commands["global"]["parameters"]["parameter_overrides"])
    for name, commands in SAMCONFIG.items()
    if isinstance(commands, dict)
}
MAPPINGS = yaml_parse(TEMPLATE)["Mappings"]
KEY = f"alice:{'a' * 64}"
IMAGE = "embeddings:function-0123456789ab-latest"
ABSENT = {"Ref": "AWS::NoValue"}
# No telemetry and no search for credentials; SAM needs a region.
os.environ |= {"SAM_CLI_TELEMETRY": "0", "AWS_EC2_METADATA_DISABLED": "true", "AWS_DEFAULT_REGION": "eu-central-1"}


class Policies:
    """SAM's loader of the names of AWS's managed policies, of which this template uses none."""

    def load(self) -> dict[str, str]:
        """Return no names."""
        return {}


@dataclass(frozen=True)
class Stack:
    """A translated template, resolved for one set of parameters.

    translated  SAM's translation of the template, with conditions and references unresolved
    resources   resources whose condition holds, by logical ID, with parameters and conditions resolved
    outputs     outputs, likewise
    """

    translated: dict[str, Any]
    resources: dict[str, Any]
    outputs: dict[str, Any]

    def __getitem__(self, name: str) -> dict[str, Any]:
        """Return the properties of a resource by its logical ID."""
        properties: dict[str, Any] = self.resources[name]["Properties"]
        return properties

    def of(self, kind: str) -> dict[str, Any]:
        """Return the properties of every resource of a type, by logical ID."""
        found = {name: each for name, each in self.resources.items() if each["Type"] == kind}
        return {name: each.get("Properties", {}) for name, each in found.items()}

    def only(self, kind: str) -> dict[str, Any]:
        """Return the properties of the only resource of a type."""
        (properties,) = self.of(kind).values()
        return properties


def translate(template: str = TEMPLATE, image: str = IMAGE, **overrides: str) -> Stack:
    """Translate the template with these parameters, as `sam deploy` does."""
    source = yaml_parse(template)
    source["Resources"]["Function"]["Properties"]["ImageUri"] = image  # set by `sam build` and `sam deploy`
    # `sam deploy` uploads the definition.
    source["Resources"]["BulkStateMachine"]["Properties"]["DefinitionUri"] = {"Bucket": "bucket", "Key": "definition"}
    values = {name: parameter.get("Default") for name, parameter in source["Parameters"].items()}
    values |= {"Environment": "default"} | overrides
    translated = json.loads(json.dumps(transform(source, values, Policies())))
    conditions = {
        name: evaluate(value, values, translated["Conditions"]) for name, value in translated["Conditions"].items()
    }
    kept = {
        section: {
            name: resolve(each, values, conditions)
            for name, each in translated[section].items()
            if conditions.get(each.get("Condition", ""), True)
        }
        for section in ("Resources", "Outputs")
    }
    return Stack(translated, kept["Resources"], kept["Outputs"])


def violations(**overrides: str) -> list[str]:
    """Return the assertions of the template's rules that these parameters violate."""
    source = yaml_parse(TEMPLATE)
    values = {name: parameter.get("Default") for name, parameter in source["Parameters"].items()}
    values |= {"Environment": "default"} | overrides
    return [
        assertion["AssertDescription"]
        for rule in source["Rules"].values()
        if evaluate(rule["RuleCondition"], values, {})
        for assertion in rule["Assertions"]
        if not evaluate(assertion["Assert"], values, {})
    ]


def evaluate(condition: Any, values: dict[str, Any], conditions: dict[str, Any]) -> bool:
    """Evaluate a condition."""
    ((function, arguments),) = condition.items()
    match function:
        case "Condition":
            return evaluate(conditions[arguments], values, conditions)
        case "Fn::Equals":
            left, right = (str(resolve(argument, values, {})) for argument in arguments)
            return left == right
        case "Fn::Not":
            return not evaluate(arguments[0], values, conditions)
        case "Fn::And":
            return all(evaluate(argument, values, conditions) for argument in arguments)
        case "Fn::Or":
            return any(evaluate(argument, values, conditions) for argument in arguments)
    raise NotImplementedError(function)


def resolve(value: Any, values: dict[str, Any], conditions: dict[str, bool]) -> Any:
    """Resolve Fn::If, Fn::FindInMap and references to parameters; leave everything else unchanged."""
    if isinstance(value, list):
        return [each for each in (resolve(each, values, conditions) for each in value) if each != ABSENT]
    if not isinstance(value, dict):
        return value
    if set(value) == {"Ref"}:
        return values.get(value["Ref"], value)
    if set(value) == {"Fn::FindInMap"}:
        mapping, *keys = value["Fn::FindInMap"]
        first, second = (resolve(key, values, conditions) for key in keys)
        return MAPPINGS[mapping][first][second]
    if set(value) == {"Fn::If"}:
        condition, yes, no = value["Fn::If"]
        return resolve(yes if conditions[condition] else no, values, conditions)
    resolved = {name: resolve(each, values, conditions) for name, each in value.items()}
    return {name: each for name, each in resolved.items() if each != ABSENT}


def references(value: Any, conditions: dict[str, Any] | None = None) -> set[str]:
    """Return the names that Ref and Fn::Sub refer to anywhere in a value, and in the conditions it depends on."""
    found: set[str] = set()
    for each in walk(value):
        match each:
            case {"Ref": str(name)}:
                found.add(name)
            case {"Fn::Sub": text}:
                found |= set(re.findall(r"\$\{([\w:]+)", text if isinstance(text, str) else text[0]))
            case {"Fn::If": [name, *_]} | {"Condition": str(name)} if conditions:
                found |= references(conditions[name], conditions)
    return found


def walk(value: Any) -> Iterator[Any]:
    """Yield a value and everything nested in it."""
    yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from walk(each)
