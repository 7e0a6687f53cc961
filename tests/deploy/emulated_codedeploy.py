"""CodeDeploy for the emulated AWS: an alias moves to a new version once the deployment's hook has succeeded.

It stands in for the update policy CodeDeployLambdaAliasUpdate. If the hook reports a failure, the alias stays, and
CloudFormation rolls the update back. All traffic moves at once: there are no canaries, and no alarms stop a deployment.
"""

import json
import uuid
from typing import Any

from ministack import app
from ministack.core import iam_actions, router
from ministack.core.responses import get_account_id, get_region
from ministack.services import cloudformation, lambda_svc
from ministack.services.cloudformation import changesets, engine, handlers, provisioners, stacks

NAME = "codedeploy"
HOOK = "BeforeAllowTrafficHook"

templates: dict[str, Any] = {}  # the template that a stack is deployed from, by the stack's name
groups: dict[str, str] = {}  # the ARN of a deployment's group, by the deployment's ID
statuses: dict[str, str] = {}  # what the hook reported, by the deployment's ID

deploy_stack = stacks._deploy_stack_async
extract_dependencies, extract_resource_arn = engine._extract_deps, iam_actions.extract_resource_arn
runs_on_worker_thread = stacks._runs_on_worker_thread
alias_handlers = provisioners._RESOURCE_HANDLERS["AWS::Lambda::Alias"]
move_alias = alias_handlers["update"]


async def handle_request(_method: str, _path: str, _headers: Any, body: bytes, _query: Any) -> tuple[int, Any, bytes]:
    """Handle PutLifecycleEventHookExecutionStatus, the only operation there is."""
    report = json.loads(body)
    statuses[report["deploymentId"]] = report["status"]
    response = {"lifecycleEventHookExecutionId": report["lifecycleEventHookExecutionId"]}
    return 200, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps(response).encode()


def resource_arn(service: str, method: str, path: str, headers: Any, body: bytes, *rest: Any) -> Any:
    """Return the ARN that a policy has to allow: the report is about a deployment group."""
    if service == NAME:
        return groups[json.loads(body)["deploymentId"]]
    return extract_resource_arn(service, method, path, headers, body, *rest)


async def deploy_stack_from(stack_name: str, stack_id: str, template: Any, *rest: Any, **named: Any) -> None:
    """Deploy a stack, and remember from which template: a resource's update sees only its properties."""
    templates[stack_name] = template
    await deploy_stack(stack_name, stack_id, template, *rest, **named)


def dependencies(definition: Any, names: set[str]) -> Any:
    """Return what a resource refers to, in its update policy, too."""
    policy = {"Properties": definition.get("UpdatePolicy", {})}
    return extract_dependencies(definition, names) | extract_dependencies(policy, names)


def update_alias(physical_id: str, old: Any, new: Any, stack_name: str, logical_id: str) -> Any:
    """Move an alias to a new version, after the hook of its update policy."""
    stack = cloudformation._stacks[stack_name]
    definition = templates[stack_name]["Resources"][logical_id]
    policy = definition.get("UpdatePolicy", {}).get("CodeDeployLambdaAliasUpdate", {})
    if HOOK in policy and old["FunctionVersion"] != new["FunctionVersion"] and "ROLLBACK" not in stack["StackStatus"]:
        names = {key: stack["_resources"][reference["Ref"]]["PhysicalResourceId"] for key, reference in policy.items()}
        run_hook(names[HOOK], f"{names['ApplicationName']}/{names['DeploymentGroupName']}")
    return move_alias(physical_id, old, new, stack_name, logical_id)


def run_hook(function: str, group: str) -> None:
    """Invoke a hook; raise a ValueError unless it reports success."""
    deployment = f"d-{uuid.uuid4().hex[:9].upper()}"
    groups[deployment] = f"arn:aws:codedeploy:{get_region()}:{get_account_id()}:deploymentgroup:{group}"
    event = {"DeploymentId": deployment, "LifecycleEventHookExecutionId": "1"}
    path = f"/2015-03-31/functions/{function}/invocations"
    app.call_service_handler_sync(lambda_svc.handle_request, "POST", path, {}, json.dumps(event).encode(), {})
    if statuses.get(deployment) != "Succeeded":
        raise ValueError(f"Deployment {deployment} failed: {HOOK} reported {statuses.get(deployment)}")


def install() -> None:
    """Add CodeDeploy to the emulated AWS."""
    router.SERVICE_PATTERNS[NAME] = {"target_prefixes": ["CodeDeploy_20141006"], "credential_scope": NAME}
    app.SERVICE_HANDLERS[NAME] = handle_request
    iam_actions.SERVICE_TO_IAM_NAMESPACE[NAME] = NAME
    iam_actions.extract_resource_arn = resource_arn
    changesets._deploy_stack_async = handlers._deploy_stack_async = deploy_stack_from
    engine._extract_deps = dependencies
    stacks._runs_on_worker_thread = lambda kind: kind == "AWS::Lambda::Alias" or runs_on_worker_thread(kind)
    alias_handlers["update"] = update_alias
    for kind in ("AWS::CodeDeploy::Application", "AWS::CodeDeploy::DeploymentGroup"):
        provisioners._RESOURCE_HANDLERS[kind] = {
            "create": lambda logical_id, _, stack_name: (provisioners._physical_name(stack_name, logical_id), {}),
            "update": lambda physical_id, *_: (physical_id, {}),
            "delete": lambda *_: None,
        }
