-- Translates exports of Microsoft's logs into the columns of the kit's tables.
--
-- Each table macro reads a view of an export. Its columns are texts with names in lower case, NULL where the export has
-- no such column. `place` is the number of a row, from 0. `problem` says why a row cannot be taken: how many rows it
-- stands for, or which nested column of it cannot be read.
--
-- Nested columns are the JSON text of them, which some exports put into quotes once more. How names are spelt in them
-- is not documented: where only names, ids and numbers are wanted, all of the text is read in lower case.
-- A row that is no sign-in of a person, no line of a ledger or of another log, gets no time. Tables leave such rows
-- out; still they count as rows of the file.

-- Cells, of whatever type, of a kit's own table in the type of their column; NULL where one is empty or written in
-- another way than the usual one. Programs write some words for an empty cell: the Azure CLI writes None.
CREATE MACRO as_text(cell) AS CASE
    WHEN length(cell::VARCHAR) > 6 OR cell::VARCHAR NOT IN (
        '', '-', '--', '–', '—', '(null)', '\N', '#N/A', 'N/A', 'n/a', 'nan', 'NaN', 'NaT', 'None', 'null', 'Null', 'NULL'
    ) THEN cell::VARCHAR
END;

CREATE MACRO as_id(cell) AS lower(as_text(cell));

CREATE MACRO as_category(cell) AS coalesce(as_text(cell), '');

CREATE MACRO as_time(cell) AS CASE
    WHEN typeof(cell)[:4] IN ('TIME', 'DATE') OR cell::VARCHAR LIKE '____-__-__%' THEN try_cast(cell AS TIMESTAMPTZ)
END;

CREATE MACRO as_double(cell) AS try_cast(cell AS DOUBLE);

CREATE MACRO as_decimal(cell) AS CASE
    WHEN abs(as_double(cell)) <= 2147483647 OR isnan(as_double(cell)) THEN as_double(cell)
END;

CREATE MACRO as_number(cell) AS CASE
    WHEN as_double(cell) = trunc(as_double(cell)) THEN try_cast(as_double(cell) AS INTEGER)
END;

-- Whether such a cell is written in another way than the usual one.
CREATE MACRO odd_text(cell) AS false;

CREATE MACRO odd_category(cell) AS false;

CREATE MACRO odd_id(cell) AS starts_with(as_id(cell), ' ') OR ends_with(as_id(cell), ' ');

CREATE MACRO odd_time(cell) AS as_text(cell) IS NOT NULL AND as_time(cell) IS NULL;

CREATE MACRO odd_decimal(cell) AS as_text(cell) IS NOT NULL AND as_decimal(cell) IS NULL;

CREATE MACRO odd_number(cell) AS as_text(cell) IS NOT NULL AND as_number(cell) IS NULL;


-- A nested cell without the quotes around it.
CREATE MACRO opened(cell) AS
    CASE WHEN left(cell, 1) = '"' THEN coalesce(try(json_extract_string(cell, '$')), cell) ELSE nullif(cell, '') END;

-- Whether a cell that is not empty holds no object, or no list of objects.
CREATE MACRO no_object(cell) AS cell IS NOT NULL AND try(json_type(cell)) IS DISTINCT FROM 'OBJECT';

CREATE MACRO no_objects(cell) AS cell IS NOT NULL
    AND coalesce(left(try(json_extract_string(cell, '$[0]')), 1) <> '{', try(json_type(cell)) IS DISTINCT FROM 'ARRAY');

-- The fields of an object, and of each object of a list; NULL where it is none.
CREATE MACRO fields_of(cell, fields) AS CASE WHEN left(cell, 1) = '{' THEN try(from_json(cell, fields)) END;

CREATE MACRO fields_of_each(cell, fields) AS CASE
    WHEN no_objects(cell) THEN [NULL]
    WHEN contains(cell, '"{') THEN
        list_transform(from_json(cell, '["VARCHAR"]'), lambda object: fields_of(object, fields))
    ELSE from_json(cell, '[' || fields || ']')
END;

-- The values of an object, by names in whatever spelling.
CREATE MACRO values_of(object) AS {
    'names': list_transform(json_keys(object), lambda name: lower(replace(name, '_', ''))),
    'texts': json_extract_string(object, '$.*')
};

CREATE MACRO value_of(held, name) AS nullif(held.texts[list_position(held.names, name)], '');


-- Who signed in, and what came of the callout. Its event is called unknownFutureValue where nobody asks for new names.
CREATE MACRO sign_ins(export) AS TABLE
WITH opened_cells AS (
    SELECT * REPLACE (lower(opened(status)) AS status), fields_of_each(
        lower(opened(nullif(appliedeventlisteners, '[]'))), '{"eventtype": "VARCHAR", "handlerresult": "VARCHAR"}'
    ) AS listeners
    FROM query_table(export)
), chosen AS (
    SELECT *, nullif(opened(coalesce(
        list_filter(listeners, lambda listener: listener.eventtype = 'passwordsubmit')[1],
        list_filter(listeners, lambda listener: listener.eventtype = 'unknownfuturevalue')[1]
    ).handlerresult), '{}') AS answer
    FROM opened_cells
), called AS (
    SELECT *, fields_of(
        answer, '{"errorcode": "VARCHAR", "httpstatus": "VARCHAR", "numberofattempts": "VARCHAR"}'
    ) AS callout
    FROM chosen
)
SELECT
    place,
    CASE
        WHEN problem IS NOT NULL THEN problem
        WHEN len(listeners) > list_count(listeners) OR no_object(answer) THEN 'appliedeventlisteners'
        WHEN no_object(status) THEN 'status'
    END AS problem,
    id,
    CASE WHEN lower(isinteractive) IS DISTINCT FROM 'false' OR lower(authenticationprotocol) = 'nativeauth'
        OR callout IS NOT NULL THEN coalesce(createddatetime, timegenerated) END AS time,
    userid AS user_id,
    appid AS app_id,
    correlationid AS correlation_id,
    coalesce(resulttype, fields_of(status, '{"errorcode": "VARCHAR"}').errorcode) AS result_code,
    callout.errorcode AS callout_error,
    callout.httpstatus AS callout_status,
    callout.numberofattempts AS attempts
FROM called;


-- What audits report about flags, of whatever name, about new passwords, and about users who are deleted. One audit may
-- concern several users. What failed changed nothing.
CREATE MACRO audits(export) AS TABLE
WITH opened_cells AS (
    SELECT place, problem, id, coalesce(activitydatetime, timegenerated) AS time,
        lower(coalesce(activitydisplayname, operationname)) AS activity,
        unnest(CASE WHEN problem IS NOT NULL THEN [NULL] ELSE fields_of_each(
            lower(opened(targetresources)), '{"id": "VARCHAR", "modifiedproperties": "VARCHAR"}'
        ) END) AS target
    FROM query_table(export) WHERE lower(result) IS DISTINCT FROM 'failure'
), changes AS (
    SELECT place, problem, id, time, activity, target.id AS user_id, unnest(CASE
        WHEN target IS NULL THEN [NULL]
        WHEN activity IN ('update user', 'add user') THEN fields_of_each(
            opened(target.modifiedproperties), '{"displayname": "VARCHAR", "newvalue": "VARCHAR"}'
        )
        ELSE [{'displayname': '', 'newvalue': ''}]
    END) AS change
    FROM opened_cells
), events AS (
    SELECT place, coalesce(problem, CASE WHEN change IS NULL THEN 'targetresources' END) AS problem,
        id, time, user_id, change.displayname AS flag,
        CASE
            WHEN starts_with(activity, 'reset password') THEN 'reset'
            WHEN starts_with(activity, 'change user password') THEN 'change'
            WHEN activity IN ('delete user', 'hard delete user') THEN 'deleted'
            WHEN activity = 'restore user' THEN 'restored'
            WHEN regexp_full_match(flag, 'extension_[0-9a-f]{32}_\w+') IS NOT TRUE THEN NULL
            WHEN contains(change.newvalue, 'false') THEN 'flag_false'
            WHEN contains(change.newvalue, 'true') THEN 'flag_true'
            WHEN coalesce(change.newvalue, '') IN ('', '[]', '[null]', '[""]', 'null') THEN 'flag_removed'
        END AS event
    FROM changes
)
FROM events WHERE problem IS NOT NULL OR (event IS NOT NULL AND user_id <> '');


-- Audits as the admin center downloads them: up to three targets a row, each with up to five changes, in columns of
-- their own.
CREATE MACRO downloaded_audits(export) AS TABLE
WITH held AS (
    SELECT place, problem, "date (utc)" AS activitydatetime, activity, result, values_of(to_json(audit)) AS cells
    FROM query_table(export) AS audit
), nested AS (
    SELECT place, problem, NULL AS id, activitydatetime, NULL AS timegenerated, activity AS activitydisplayname,
        result, NULL AS operationname, to_json(list_transform(range(1, 4), lambda target: {
            'id': value_of(cells, 'target' || target || 'objectid'),
            'modifiedproperties': list_transform(range(1, 6), lambda change: {
                'displayname': value_of(cells, 'target' || target || 'modifiedproperty' || change || 'name'),
                'newvalue': value_of(cells, 'target' || target || 'modifiedproperty' || change || 'newvalue')
            })
        }))::VARCHAR AS targetresources
    FROM held
)
FROM audits('nested');


-- Rows of Graph, and records that diagnostic settings send to a storage account or an event hub: of some categories, in
-- the columns of an export of sign-ins and audits.
CREATE MACRO recorded(export, categories) AS TABLE
WITH opened_cells AS (
    SELECT * REPLACE (
        CASE WHEN wanted THEN lower(opened(properties)) END AS properties, CASE WHEN wanted THEN "time" END AS "time"
    )
    FROM (SELECT *, list_contains(categories, lower(category)) AS wanted FROM query_table(export))
), records AS (
    SELECT place, coalesce(problem, CASE WHEN no_object(properties) THEN 'properties' END) AS problem,
        "time", resulttype, operationname, fields_of(properties, '{
            "id": "VARCHAR", "createddatetime": "VARCHAR", "userid": "VARCHAR", "appid": "VARCHAR",
            "correlationid": "VARCHAR", "status": "VARCHAR", "resulttype": "VARCHAR",
            "appliedeventlisteners": "VARCHAR", "isinteractive": "VARCHAR", "authenticationprotocol": "VARCHAR",
            "activitydatetime": "VARCHAR", "activitydisplayname": "VARCHAR", "operationname": "VARCHAR",
            "targetresources": "VARCHAR", "result": "VARCHAR"
        }') AS held
    FROM opened_cells
)
SELECT place, problem, "time" AS timegenerated, held.* REPLACE (
    upper(held.createddatetime) AS createddatetime,
    upper(held.activitydatetime) AS activitydatetime,
    coalesce(held.resulttype, resulttype) AS resulttype,
    coalesce(held.operationname, operationname) AS operationname
)
FROM records;

CREATE MACRO recorded_sign_ins(export, categories) AS TABLE
WITH inside AS (FROM recorded(export, categories)) FROM sign_ins('inside');

CREATE MACRO recorded_audits(export, categories) AS TABLE
WITH inside AS (FROM recorded(export, categories)) FROM audits('inside');


-- What the endpoint answered, by its traces or by its requests. A trace is a line of the endpoint's ledger if it has a
-- cause: in its message, which is JSON from the first brace on, or in its properties. Of a request only the properties
-- say more than whether it was answered. Their names are in whatever spelling, and their values keep theirs.
CREATE MACRO ledger(export, of_requests) AS TABLE
WITH opened_cells AS (
    SELECT * REPLACE (opened(message) AS message, opened(coalesce(properties, customdimensions)) AS properties)
    FROM query_table(export)
), checked AS (
    SELECT * REPLACE (
        coalesce(problem, CASE WHEN no_object(properties) THEN 'properties' END) AS problem,
        CASE WHEN contains(message, '{') THEN substr(message, strpos(message, '{')) END AS message
    ), coalesce(resultcode, '200') AS code
    FROM opened_cells
), chosen AS (
    SELECT *, message IS NOT NULL AND NOT no_object(message) AS in_message
    FROM checked
), parsed AS (
    SELECT *, values_of(CASE WHEN in_message THEN message WHEN problem IS NULL THEN properties END) AS held
    FROM chosen
), lines AS (
    SELECT * EXCLUDE held, of_requests OR (
        list_contains(held.names, 'cause') AND (NOT in_message OR list_contains(held.names, 'time'))
    ) AS is_line, CASE WHEN is_line THEN held END AS held
    FROM parsed
)
SELECT
    place,
    problem,
    CASE
        WHEN in_message THEN value_of(held, 'time')
        WHEN is_line THEN coalesce(timegenerated, "timestamp", "time")
    END AS time,
    value_of(held, 'correlationid') AS correlation_id,
    value_of(held, 'userid') AS user_id,
    value_of(held, 'appid') AS app_id,
    coalesce(value_of(held, 'action'), CASE WHEN of_requests AND code = '200' THEN 'Answered' END) AS action,
    coalesce(value_of(held, 'cause'), CASE WHEN of_requests AND code <> '200' THEN 'status_' || code END) AS cause,
    value_of(held, 'legacy') AS legacy,
    coalesce(durationms, duration, value_of(held, 'durationms')) AS duration_ms,
    value_of(held, 'key') AS key,
    value_of(held, 'attempt') AS attempt
FROM lines;
