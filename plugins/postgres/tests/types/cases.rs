//! Types and the values at their edges, as SQL.

/// A declared type and values of it. NULL is added to each.
pub struct Case {
    pub declared: &'static str,
    pub values: &'static [&'static str],
}

const fn case(declared: &'static str, values: &'static [&'static str]) -> Case {
    Case { declared, values }
}

/// What a database needs for [`CASES`].
pub const SETUP: &str = r#"
CREATE EXTENSION citext; CREATE EXTENSION hstore; CREATE EXTENSION ltree; CREATE EXTENSION cube;
CREATE SCHEMA "Odd ""Schema";
CREATE TYPE mood AS ENUM ('sad', 'o''k', 'very "happy", {really}');
CREATE TYPE "Odd ""Schema"."Odd Type" AS ENUM ('a', '');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE DOMAIN more_positive AS positive CHECK (VALUE > 10);
CREATE DOMAIN price AS numeric(10,2);
CREATE DOMAIN codes AS text[];
CREATE TYPE pair AS (a int, "b c" text);
CREATE TYPE nest AS (p pair, ps pair[], d more_positive, t timestamptz, m mood);
CREATE TYPE single AS (one text);
CREATE TYPE float_range AS RANGE (subtype = float8, subtype_diff = float8mi);
CREATE TYPE text_range AS RANGE (subtype = text);
CREATE TABLE as_row_type (x int, y text);
"#;

pub const CASES: &[Case] = &[
    case("boolean", &["true", "false"]),
    case("smallint", &["-32768", "0", "32767"]),
    case("integer", &["-2147483648", "0", "2147483647"]),
    case("bigint", &["-9223372036854775808", "0", "9223372036854775807"]),
    case("oid", &["0", "4294967295"]),
    case("xid", &["'0'", "'4294967295'"]),
    case("cid", &["'0'", "'4294967295'"]),
    case("xid8", &["'0'", "'18446744073709551615'"]),
    case("tid", &["'(0,0)'", "'(4294967295,65535)'"]),
    case(
        "real",
        &[
            "0",
            "'-0'",
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "1e-45",
            "3.4028235e38",
            "0.1",
            "1e6",
            "123456.7",
        ],
    ),
    case(
        "double precision",
        &[
            "0",
            "'-0'",
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "5e-324",
            "1.7976931348623157e308",
            "0.1",
            "1e15",
            "1e-5",
        ],
    ),
    case(
        "numeric",
        &[
            "0",
            "0.00",
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "1.50",
            "-0.000000001",
            "10000",
            "100000000000000",
            "1e131071",
            "'1e-16383'",
            "99999999999999999999999999999999999999999999.999999999999999999999999",
            "-1",
        ],
    ),
    case(
        "numeric(10,2)",
        &["0", "99999999.99", "-99999999.99", "0.01", "10000", "1.5"],
    ),
    case(
        "numeric(38,0)",
        &["99999999999999999999999999999999999999", "-1", "10000000000000000"],
    ),
    case(
        "numeric(38,38)",
        &[
            "0.99999999999999999999999999999999999999",
            "-0.00000000000000000000000000000000000001",
        ],
    ),
    case(
        "numeric(38,37)",
        &[
            "9.9999999999999999999999999999999999999",
            "-0.0000000000000000000000000000000000001",
        ],
    ),
    case(
        "numeric(76,20)",
        &[
            "99999999999999999999999999999999999999999999999999999999.99999999999999999999",
            "-0.5",
        ],
    ),
    case(
        "numeric(76,75)",
        &["9.999999999999999999999999999999999999999999999999999999999999999999999999999"],
    ),
    case(
        "numeric(100,50)",
        &["1e49", "0.00000000000000000000000000000000000000000000000001", "'NaN'"],
    ),
    case("numeric(5,-2)", &["1234500", "-100", "0"]),
    case("numeric(3,5)", &["0.00999", "-0.00001"]),
    case(
        "money",
        &[
            "'-92233720368547758.08'",
            "'92233720368547758.07'",
            "'0'",
            "'1234.5'",
            "'-0.01'",
        ],
    ),
    case(
        "text",
        &[
            "''",
            "' '",
            "'a''b'",
            r"E'tab\tnew\nline\r'",
            r"E'back\\slash'",
            "'ü漢🐟'",
            "repeat('x', 100000)",
            "'NULL'",
        ],
    ),
    case("varchar", &["''", "'ü'"]),
    case("varchar(3)", &["''", "'üüü'", "'  '"]),
    case("char(4)", &["''", "'a'", "'abcd'", "' b'"]),
    case("name", &["''", "repeat('n', 63)"]),
    case("\"char\"", &["'a'", "''", r"'\377'", "' '", r"'\'"]),
    case(
        "bytea",
        &["''", r"'\x00ff275c0a'", r"decode(repeat('ab', 5000), 'hex')"],
    ),
    case(
        "uuid",
        &[
            "'00000000-0000-0000-0000-000000000000'",
            "'ABCDEF01-2345-6789-abcd-ef0123456789'",
        ],
    ),
    case(
        "json",
        &[
            r#"'{"b": 1,  "a": [1.0, 1e2], "a": "\u00e9"}'"#,
            "'null'",
            "'  1 '",
            r#"'"\u0000"'"#,
        ],
    ),
    case(
        "jsonb",
        &[
            r#"'{"b": 1,  "a": [1.0, 1e2], "c": "é\n\""}'"#,
            "'null'",
            "'12345678901234567890.123'",
            "'[]'",
        ],
    ),
    case("jsonpath", &[r#"'$."a b"[*] ? (@ > 1)'"#, "'strict $'"]),
    case(
        "xml",
        &[
            "'<a b=\"c\">ü&amp;</a>'",
            "xmlparse(document '<?xml version=\"1.0\"?><x/>')",
            "''",
        ],
    ),
    case(
        "date",
        &[
            "'1970-01-01'",
            "'2000-02-29'",
            "'4714-11-24 BC'",
            "'0001-01-01'",
            "'0001-12-31 BC'",
            "'5874897-12-31'",
            "'10000-01-01'",
        ],
    ),
    case("time", &["'00:00'", "'24:00:00'", "'23:59:59.999999'", "'12:00:00.1'"]),
    case("time(0)", &["'12:34:56'"]),
    case(
        "time with time zone",
        &[
            "'00:00+00'",
            "'24:00:00-15:59:59'",
            "'23:59:59.999999+15:59'",
            "'12:00+05:30'",
        ],
    ),
    case(
        "timestamp",
        &[
            "'1970-01-01'",
            "'4714-11-24 BC'",
            "'0001-12-31 23:59:59.999999 BC'",
            "'294246-12-31 23:59:59.999999'",
            "'1999-12-31 23:59:59.5'",
        ],
    ),
    case("timestamp(3)", &["'2024-01-02 03:04:05.678'"]),
    case(
        "timestamptz",
        &[
            "'1970-01-01 00:00+00'",
            "'4714-11-24 00:00+00 BC'",
            "'294246-12-31 23:59:59.999999+00'",
            "'2024-03-31 02:30+02'",
        ],
    ),
    case(
        "interval",
        &[
            "'0'",
            "'1 year 2 months 3 days 04:05:06.7'",
            "'-1 year -2 mons +3 days -04:05:06.000001'",
            "'178000000 years'",
            "'-178000000 years'",
            "'2147483647 days'",
            "'-2147483648 days'",
            "'2562047:47:16.854775'",
            "'-0.5 seconds'",
            "'1 mon -1 day'",
        ],
    ),
    case("interval(3)", &["'1.234 seconds'"]),
    case("interval year to month", &["'1-2'"]),
    case("bit(1)", &["'0'", "'1'"]),
    case("bit(13)", &["'1010101010101'"]),
    case("varbit", &["''", "'1'", "'10101010'", "'101010101'"]),
    case("varbit(5)", &["'10101'"]),
    case(
        "inet",
        &[
            "'0.0.0.0/0'",
            "'10.0.0.1'",
            "'10.0.0.1/8'",
            "'::/0'",
            "'::1'",
            "'::2'",
            "'::ffff:1.2.3.4'",
            "'::1.2.3.4'",
            "'1::'",
            "'1:0:0:2:0:0:0:3/64'",
            "'1:0:2:0:3:0:4:0'",
            "'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'",
            "'0:0:1::'",
            "'::ffff:0:0'",
            "'1::2:0:0:3'",
        ],
    ),
    case(
        "cidr",
        &["'10.0.0.0/8'", "'10.1.2.3'", "'2001:db8::/32'", "'::1'", "'0.0.0.0/0'"],
    ),
    case("macaddr", &["'00:00:00:00:00:00'", "'ff:fe:0a:00:01:02'"]),
    case("macaddr8", &["'00:00:00:00:00:00:00:00'", "'ff:fe:0a:00:01:02:03:04'"]),
    case("pg_lsn", &["'0/0'", "'16/B374D848'", "'FFFFFFFF/FFFFFFFF'"]),
    case("point", &["'(0,-0)'", "'(1e300,1.5e-300)'", "'(NaN,Infinity)'"]),
    case("line", &["'{1,-1,0.1}'"]),
    case("lseg", &["'[(1,2),(3,4)]'"]),
    case("box", &["'(3,4),(1,2)'"]),
    case("path", &["'((1,2),(3,4))'", "'[(1,2),(3,4),(5,6)]'", "'[(1e20,0.1)]'"]),
    case("polygon", &["'((1,2),(3,4),(5,6))'", "'((1,2))'"]),
    case("circle", &["'<(1,2),3>'"]),
    case(
        "tsvector",
        &[
            "''",
            "'a:1A,2B,3C,4 b ''it''''s'' ''back\\\\slash'' ''sp ace'':5'",
            "to_tsvector('simple', 'the quick the fox')",
            "'z:16383'",
        ],
    ),
    case(
        "tsquery",
        &[
            "'a'",
            "'a & b | c'",
            "'a & (b | c)'",
            "'!(a & b) | !c'",
            "'a <-> b <-> c'",
            "'a <-> (b <-> c)'",
            "'a <3> b'",
            "'a:*AB & b:C'",
            "'!!a'",
            "'(a | b) <-> !c'",
            "'a | b | (c & d & e)'",
            "'''it''''s'' & x'",
            "'!a <-> b'",
            "'!(a <-> b) & c'",
        ],
    ),
    case("pg_snapshot", &["'10:20:10,14,15'", "'1:1:'"]),
    case("txid_snapshot", &["'10:20:10,14,15'"]),
    case("int2vector", &["'1 2 -3'"]),
    case("oidvector", &["'1 4294967295'"]),
    case("refcursor", &["'c'"]),
    case("regclass", &["'pg_class'", "0"]),
    case("regtype", &["'integer'", "'mood'"]),
    case("int4range", &["'empty'", "'[1,5)'", "'(,)'", "'[1,)'", "'(,5)'"]),
    case("int8range", &["'[-9223372036854775808,9223372036854775807)'"]),
    case("numrange", &["'(1.50,2.5]'", "'[1,1]'", "'(,NaN)'"]),
    case(
        "tsrange",
        &[
            "'[2024-01-01 00:00,2024-01-02 12:00:00.5]'",
            "'[-infinity,infinity)'",
            "'[0044-03-15 BC,294276-12-31)'",
        ],
    ),
    case("tstzrange", &["'[2024-01-01 00:00+00,)'", "'empty'"]),
    case("daterange", &["'[2024-01-01,2024-02-01)'", "'[-infinity,infinity]'"]),
    case("float_range", &["'[1e20,1e21)'", "'(-0.1,Infinity]'"]),
    case("text_range", &[r#"'["a b","c""d\\e")'"#, r#"'["","(x)"]'"#, "'(,z]'"]),
    case("int4multirange", &["'{}'", "'{[1,3),[5,7),[9,)}'"]),
    case("tstzmultirange", &["'{[2024-01-01 00:00+00,2024-01-02 00:00+00)}'"]),
    case("nummultirange", &["'{(1.5,2],[3,)}'"]),
    case("int[]", &["'{}'", "'{1,NULL,-3}'", "'{NULL}'"]),
    case(
        "text[]",
        &[r#"'{a,"b c","",NULL,"NULL","q\"uo\\te","{br,ace}","ü"}'"#, "'{}'"],
    ),
    case("numeric(10,2)[]", &["'{1.50,NULL,99999999.99}'"]),
    case("numeric[]", &["'{1.50,NaN,Infinity}'"]),
    case("bool[]", &["'{t,f,NULL}'"]),
    case("bytea[]", &[r#"'{"\\x00ff",NULL,""}'"#]),
    case("timestamptz[]", &["'{2024-01-01 00:00:00+00,NULL}'"]),
    case("uuid[]", &["'{00000000-0000-0000-0000-000000000000}'"]),
    case("json[]", &[r#"array['{"a": 1}'::json, 'null']"#]),
    case("box[]", &["'{(3,4),(1,2);(5,6),(0,0);NULL}'"]),
    case("interval[]", &["'{1 mon,00:00:01}'"]),
    case("inet[]", &["'{10.0.0.1,::1/64}'"]),
    case("char(3)[]", &["'{a,bcd}'"]),
    case("int4range[]", &[r#"'{"[1,3)",empty,NULL}'"#]),
    case("mood", &["'sad'", "'o''k'", "'very \"happy\", {really}'"]),
    case("mood[]", &[r#"array['sad','very "happy", {really}']::mood[]"#]),
    case(r#""Odd ""Schema"."Odd Type""#, &["'a'", "''"]),
    case("positive", &["1"]),
    case("more_positive", &["2147483647"]),
    case("more_positive[]", &["'{11,NULL}'"]),
    case("price", &["12345678.99"]),
    case("codes", &["'{a,b}'"]),
    case("codes[]", &[r#"'{"{a,b}","{}",NULL}'"#]),
    case(
        "pair",
        &[
            "ROW(1, 'x')",
            "ROW(NULL, NULL)",
            r#"ROW(2, 'q"u\o,t(e)')"#,
            "ROW(3, '')",
        ],
    ),
    case(
        "pair[]",
        &[r#"array[ROW(1, 'a "b"')::pair, NULL, ROW(NULL, NULL)::pair]"#],
    ),
    case("single", &["ROW(NULL)", "ROW('')", "ROW('x y')"]),
    case(
        "nest",
        &[
            r#"ROW(ROW(1, 'in "quotes"')::pair, array[ROW(2, 'b\')::pair, NULL], 11, '2024-01-01 00:00+00', 'o''k')"#,
            "ROW(NULL, NULL, NULL, NULL, NULL)",
        ],
    ),
    case("as_row_type", &["ROW(1, 'a')"]),
    case("citext", &["'MiXed'", "''"]),
    case("citext[]", &["'{A,b}'"]),
    case(
        "hstore",
        &[
            r#"'"a"=>"1", "quo\"te\\"=>"b\"\\ =>", "n"=>NULL, "e"=>"", "z"=>"NULL"'"#,
            "''",
        ],
    ),
    case("ltree", &["'Top.Science.Astronomy'", "''"]),
    case("lquery", &["'Top.*{1,2}.!a@*'"]),
    case("ltxtquery", &["'Europe & !Russia@'"]),
    case("cube", &["'(1,2),(3,4)'"]),
];
