"""Reads a resource into Microsoft's own models (azure-mgmt-*), and says what the model does not know."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from importlib import import_module
from typing import Any, Final

# A type of Azure Resource Manager: the module of its models, and the model of what is sent to make one.
MODELS: Final = {
    "Microsoft.OperationalInsights/workspaces": ("loganalytics", "Workspace"),
    "Microsoft.Insights/components": ("applicationinsights.v2020_02_02", "ApplicationInsightsComponent"),
    "Microsoft.Insights/workbooks": ("applicationinsights.v2023_06_01", "Workbook"),
    "Microsoft.Insights/actionGroups": ("monitor", "ActionGroupResource"),
    "Microsoft.Insights/scheduledQueryRules": ("monitor", "ScheduledQueryRuleResource"),
    "Microsoft.Network/networkSecurityGroups": ("network", "NetworkSecurityGroup"),
    "Microsoft.Network/publicIPAddresses": ("network", "PublicIPAddress"),
    "Microsoft.Network/natGateways": ("network", "NatGateway"),
    "Microsoft.Network/virtualNetworks": ("network", "VirtualNetwork"),
    "Microsoft.Network/privateEndpoints": ("network", "PrivateEndpoint"),
    "Microsoft.Network/privateEndpoints/privateDnsZoneGroups": ("network", "PrivateDnsZoneGroup"),
    "Microsoft.Network/privateDnsZones": ("privatedns", "PrivateZone"),
    "Microsoft.Network/privateDnsZones/virtualNetworkLinks": ("privatedns", "VirtualNetworkLink"),
    "Microsoft.Storage/storageAccounts": ("storage", "StorageAccountCreateParameters"),
    "Microsoft.Storage/storageAccounts/blobServices": ("storage", "BlobServiceProperties"),
    "Microsoft.Storage/storageAccounts/blobServices/containers": ("storage", "BlobContainer"),
    "Microsoft.KeyVault/vaults": ("keyvault", "VaultCreateOrUpdateParameters"),
    "Microsoft.Web/serverfarms": ("web", "AppServicePlan"),
    "Microsoft.Web/sites": ("web", "Site"),
    "Microsoft.Authorization/roleAssignments": ("authorization.v2022_04_01", "RoleAssignmentCreateParameters"),
}
_OF_TEMPLATE: Final = ("type", "apiVersion", "name", "scope", "dependsOn")
_PLAIN: Final = {"bool": bool, "int": int, "str": str, "float": (int, float)}


def problems(resource: dict[str, Any]) -> list[str]:
    """Say which members and values of a resource Microsoft's model does not know, and which it needs."""
    module, name = MODELS[resource["type"]]
    models = import_module(f"azure.mgmt.{module}.models")
    body = {name: value for name, value in resource.items() if name not in _OF_TEMPLATE}
    return list(_judge(body, getattr(models, name), models, name))


def _judge(body: Any, model: Any, models: Any, path: str) -> Iterator[str]:
    if not isinstance(body, dict):
        yield f"{path}: not an object"
    elif hasattr(model, "_attribute_map"):
        yield from _judge_mapped(body, model, models, path, "")
    else:
        yield from _judge_fields(body, model, models, path)


def _judge_fields(body: dict[str, Any], model: Any, models: Any, path: str) -> Iterator[str]:
    """Judge by a model whose members are fields with annotations."""
    model({})  # the first one that is made names the fields
    fields = {}
    for base in reversed(model.__mro__):
        for name, annotation in vars(base).get("__annotations__", {}).items():
            field = vars(base).get(name)
            if hasattr(field, "_rest_name"):
                fields[field._rest_name] = field._visibility, _written(annotation)
    assert fields, model
    for name, value in body.items():
        if name not in fields:
            yield f"{path}.{name}: unknown"
        elif fields[name][0] == ["read"]:
            yield f"{path}.{name}: can only be read"
        else:
            yield from _judge_value(value, fields[name][1], models, f"{path}.{name}")
    for name, (visibility, annotation) in fields.items():
        if not re.match(r"Optional|.*NoneType", annotation) and visibility != ["read"] and name not in body:
            yield f"{path}.{name}: missing"


def _judge_mapped(body: dict[str, Any], model: Any, models: Any, path: str, prefix: str) -> Iterator[str]:
    """Judge by a model with a map of its members, in which dots stand for objects around them."""
    mapped = {each["key"].replace("\\.", "."): name for name, each in model._attribute_map.items()}
    hints, rules = model.__init__.__annotations__, getattr(model, "_validation", {})
    for name, value in body.items():
        key = f"{prefix}{name}"
        member = mapped.get(key)
        if member and rules.get(member, {}).get("readonly"):
            yield f"{path}.{name}: can only be read"
        elif member:
            hint = _written(hints.get(member) or model._attribute_map[member]["type"])
            yield from _judge_value(value, hint, models, f"{path}.{name}")
        elif isinstance(value, dict) and any(each.startswith(f"{key}.") for each in mapped):
            yield from _judge_mapped(value, model, models, f"{path}.{name}", f"{key}.")
        else:
            yield f"{path}.{name}: unknown"
    for key, member in mapped.items():
        own = key.removeprefix(prefix)
        if key.startswith(prefix) and "." not in own and rules.get(member, {}).get("required") and own not in body:
            yield f"{path}.{own}: missing"


def _judge_value(value: Any, annotation: str, models: Any, path: str) -> Iterator[str]:
    inner = re.sub(r"^Optional\[(.*)\]$", r"\1", annotation)
    if found := re.match(r"(?:List|list)\[(.*)\]$", inner):
        if not isinstance(value, list):
            yield f"{path}: not a list"
        else:
            for number, each in enumerate(value):
                yield from _judge_value(each, found[1], models, f"{path}[{number}]")
        return
    names = re.findall(r"_models\.(\w+)", inner)
    for name in names:
        known = getattr(models, name)
        if issubclass(known, Enum):
            if value not in [each.value for each in known]:
                yield f"{path}: {value!r} is not one of {name}"
        else:
            yield from _judge(value, known, models, path)
    if not names and inner in _PLAIN and (not isinstance(value, _PLAIN[inner]) or (inner == "int" and value is True)):
        yield f"{path}: {value!r} is no {inner}"


def _written(annotation: Any) -> str:
    """Write a type as the models' source does, without quotes."""
    return re.sub(r"typing\.|ForwardRef\(|<class |['\")>]", "", str(annotation))
