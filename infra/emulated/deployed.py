"""What stands after the deploy, and what must not have come out of it."""

from cloud import STACK
from users import OWN_KEY
from world import ANN


def routes_indexes_and_sources_are_there(world):
    """An emulator may leave out what it does not know and call the stack complete."""
    cloud, stack, template = world.cloud, world.cloud.stack, world.cloud.template
    gateway = cloud.client("apigatewayv2")
    routes = gateway.get_routes(ApiId=stack["Api"])["Items"]
    # The console's page is everybody's; which routes those are is the business of the workspace's own tests.
    declared = {
        (route["RouteKey"], route["AuthorizationType"])
        for route in cloud.declared("AWS::ApiGatewayV2::Route").values()
    }
    assert {(route["RouteKey"], route["AuthorizationType"]) for route in routes} == declared and declared, routes
    assert ("POST /jobs", "JWT") in declared, declared

    table = cloud.client("dynamodb").describe_table(TableName=stack["Table"])["Table"]
    indexes = {index["IndexName"] for index in table["GlobalSecondaryIndexes"]}
    declared = {
        index["IndexName"] for index in cloud.declared("AWS::DynamoDB::Table")["Table"]["GlobalSecondaryIndexes"]
    }
    assert indexes == declared and declared, indexes

    sources, schedules, functions = {}, 0, cloud.declared("AWS::Serverless::Function")
    for name, function in functions.items():
        configuration = world.lambdas.get_function_configuration(FunctionName=stack[name])
        assert configuration["Timeout"] == function["Timeout"], configuration
        kinds = [event["Type"] for event in function.get("Events", {}).values()]
        sources[name], schedules = kinds.count("SQS"), schedules + kinds.count("Schedule")
    found = world.lambdas.list_event_source_mappings()["EventSourceMappings"]
    assert len(found) == sum(sources.values()) > 0, found
    for source in found:
        assert source["BatchSize"] == 1 and source["FunctionResponseTypes"] == ["ReportBatchItemFailures"], source
        assert source["ScalingConfig"]["MaximumConcurrency"] >= 2, source

    rules = cloud.client("events").list_rules()["Rules"]
    timed = [rule for rule in rules if rule.get("ScheduleExpression") and rule["State"] == "ENABLED"]
    assert len(timed) == schedules > 0, rules
    filters = cloud.client("logs").describe_log_groups(logGroupNamePrefix=f"/nightshift/{STACK}/")["logGroups"]
    assert len(filters) == len(functions), filters
    alarms = cloud.client("cloudwatch").describe_alarms()["MetricAlarms"]
    assert len(alarms) == len(cloud.declared("AWS::CloudWatch::Alarm")), alarms
    dashboards = cloud.client("cloudwatch").list_dashboards()["DashboardEntries"]
    assert len(dashboards) == len(cloud.declared("AWS::CloudWatch::Dashboard")), dashboards
    assert template["Resources"].keys() <= stack.keys(), template["Resources"].keys() - stack.keys()
    return (
        f"{len(routes)} routes, {len(indexes)} indexes, {len(functions)} functions, {len(found)} event sources, "
        f"{len(timed)} schedules, {len(alarms)} alarms"
    )


def logs_hold_no_secrets(world):
    """Neither keys nor tokens, nor what was said; but there are logs."""
    env = world.cloud.function_env("StartJobFunction")
    keys = [env["NIGHTSHIFT_STREAM_TOKEN_KEY"], env["NIGHTSHIFT_SEALING_KEY"], OWN_KEY]
    secrets = [*keys, world.issuer.token(ANN).split(".")[0], "token=v1.", "Say: ", "Sum: "]
    lines = 0
    for function in ["start-job", "jobs", "worker", "stream", "sweeper"]:
        for message in world.cloud.logs(function):
            lines += 1
            told = [secret for secret in secrets if secret in message]
            assert not told, f"{function} logs {told}: {message}"
    assert lines > 0, "there are no logs"
    return f"{lines} lines"


def nothing_listens_beyond_loopback(world):
    assert len(world.cloud.process.members()) > 1, "the functions were not seen"
    assert world.cloud.process.exposed() == []
