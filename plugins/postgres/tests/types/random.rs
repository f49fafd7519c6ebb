//! Random values: written in binary, read in both forms. `POSTGRES_TYPES_SEED=<seed>` repeats a run.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Date32Array, Decimal128Array, Float32Array, Float64Array, IntervalMonthDayNanoArray,
    ListBuilder, RecordBatch, StringArray, StringBuilder, Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Field, IntervalMonthDayNano, Schema};
use highwater_plugin_postgres::types::{Override, field};
use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::server::{Database, database};

const COUNT: usize = 4_000;

fn seed() -> u64 {
    let given = std::env::var("POSTGRES_TYPES_SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    given.unwrap_or_else(rand::random)
}

/// Writes the values into a column of the declared type, and reads them in both forms: typed, and as text.
async fn check(database: &Database, table: &str, declared: &str, values: ArrayRef, seed: u64) {
    let repeat = format!("{declared}: POSTGRES_TYPES_SEED={seed} cargo test -p highwater-plugin-postgres --test types");
    database
        .execute(&format!("CREATE TABLE {table} (id serial, v {declared})"))
        .await;
    let given = Field::new("v", values.data_type().clone(), true);
    let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![given])), vec![Arc::clone(&values)]).unwrap();
    database.write(table, &batch).await.expect(&repeat);
    let column = database.column(table).await;
    let typed = field(&column, None).unwrap();
    let binary = database.read_binary(table, &column, &typed).await.expect(&repeat);
    let text = database.read_text(table, &column, &typed).await;
    for row in 0..values.len() {
        // One by one, for a message that fits a screen.
        assert_eq!(
            &binary.column(0).slice(row, 1),
            &values.slice(row, 1),
            "binary, {repeat}"
        );
        assert_eq!(&text.column(0).slice(row, 1), &values.slice(row, 1), "text, {repeat}");
    }
    let as_text = field(&column, Some(Override::Text)).unwrap();
    let binary = database.read_binary(table, &column, &as_text).await.expect(&repeat);
    let text = database.read_text(table, &column, &as_text).await;
    for row in 0..values.len() {
        let (ours, theirs) = (binary.column(0).slice(row, 1), text.column(0).slice(row, 1));
        assert_eq!(&ours, &theirs, "as text, {repeat}");
    }
    let copy = format!("{table}_copy");
    database
        .execute(&format!("CREATE TABLE {copy} (id serial, v {declared})"))
        .await;
    database.write(&copy, &text).await.expect(&repeat);
    assert_eq!(
        database.differences(table, &copy).await,
        Vec::<String>::new(),
        "from text, {repeat}"
    );
}

/// Text of characters that mean something in one of the forms.
fn odd_text(random: &mut ChaCha8Rng) -> String {
    const ODD: &[char] = &[
        '"', '\'', '\\', '{', '}', '(', ')', '[', ']', ',', ' ', '\t', '\n', 'a', 'N', 'U', 'L', 'ü', '🐟', '=', '>',
        ':', ';', '\u{a0}',
    ];
    let len = random.random_range(0..8);
    (0..len).map(|_| ODD[random.random_range(0..ODD.len())]).collect()
}

#[tokio::test]
async fn random_numbers_are_the_same_in_both_forms() {
    let Some(database) = database("").await else { return };
    let seed = seed();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    // Numbers on the edge of what the shortest digits are.
    let edges = [
        1e23,
        9.5e22,
        8.41e21,
        9007199254740992.0,
        9007199254740993.0,
        2.0_f64.powi(-1074),
        5e-324,
        4.5e15,
        123456789012345680.0,
    ];
    let powers = (-1074..1024).map(|power| 2.0_f64.powi(power));
    let bits = (0..COUNT)
        .map(|_| f64::from_bits(random.next_u64()))
        .filter(|value| !value.is_nan());
    let doubles: Float64Array = edges.into_iter().chain(powers).chain(bits).map(Some).collect();
    check(&database, "doubles", "double precision", Arc::new(doubles), seed).await;
    let powers = (-149..128).map(|power| 2.0_f32.powi(power));
    let bits = (0..COUNT)
        .map(|_| f32::from_bits(random.next_u32()))
        .filter(|value| !value.is_nan());
    let floats: Float32Array = [33_554_432.0, 8_388_608.5, 1.1e10]
        .into_iter()
        .chain(powers)
        .chain(bits)
        .map(Some)
        .collect();
    check(&database, "floats", "real", Arc::new(floats), seed).await;
    for scale in [0, 1, 4, 10, 37, 38] {
        let values = (0..500).map(|_| {
            let digits = random.random_range(0..=38);
            Some((random.random::<u128>() % 10_u128.pow(digits)) as i128 * if random.random() { 1 } else { -1 })
        });
        let values: Decimal128Array = values.collect();
        let values = values.with_precision_and_scale(38, scale).unwrap();
        check(
            &database,
            &format!("decimals{scale}"),
            &format!("numeric(38,{scale})"),
            Arc::new(values),
            seed,
        )
        .await;
    }
}

#[tokio::test]
async fn random_times_are_the_same_in_both_forms() {
    let Some(database) = database("").await else { return };
    let seed = seed();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    // 4714 BC to 294246, and to 5874897 for dates.
    let micros: Vec<i64> = (0..COUNT)
        .map(|_| random.random_range(-210_866_803_200_000_000..=i64::MAX))
        .collect();
    let timestamps = TimestampMicrosecondArray::from(micros);
    check(
        &database,
        "zoned",
        "timestamptz",
        Arc::new(timestamps.clone().with_timezone("+00:00")),
        seed,
    )
    .await;
    check(&database, "naive", "timestamp", Arc::new(timestamps), seed).await;
    let dates: Date32Array = (0..COUNT)
        .map(|_| Some(random.random_range(-2_440_588..2_145_042_906)))
        .collect();
    check(&database, "dates", "date", Arc::new(dates), seed).await;
    let times: Time64MicrosecondArray = (0..COUNT)
        .map(|_| Some(random.random_range(0..=86_400_000_000)))
        .collect();
    check(&database, "times", "time", Arc::new(times), seed).await;
    let spans: IntervalMonthDayNanoArray = (0..COUNT)
        .map(|_| {
            let micros = random.random_range(i64::MIN / 1000..i64::MAX / 1000) >> random.random_range(0..60);
            let (months, days) = (random.random::<i32>(), random.random::<i32>());
            Some(IntervalMonthDayNano::new(
                months >> random.random_range(0..32),
                days >> random.random_range(0..32),
                micros * 1000,
            ))
        })
        .collect();
    check(&database, "spans", "interval", Arc::new(spans), seed).await;
}

#[tokio::test]
async fn random_texts_are_the_same_in_both_forms() {
    let Some(database) = database("").await else { return };
    let seed = seed();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let texts: StringArray = (0..COUNT).map(|_| Some(odd_text(&mut random))).collect();
    check(&database, "texts", "text", Arc::new(texts), seed).await;
    let bytes: Vec<Vec<u8>> = (0..COUNT)
        .map(|_| {
            let mut bytes = vec![0; random.random_range(0..20)];
            random.fill_bytes(&mut bytes);
            bytes
        })
        .collect();
    let bytes: BinaryArray = bytes.iter().map(Some).collect();
    check(&database, "bytes", "bytea", Arc::new(bytes), seed).await;
    let mut lists = ListBuilder::new(StringBuilder::new());
    for _ in 0..COUNT {
        for _ in 0..random.random_range(0..5) {
            if random.random_ratio(1, 8) {
                lists.values().append_null();
            } else {
                lists.values().append_value(odd_text(&mut random));
            }
        }
        lists.append(true);
    }
    check(&database, "lists", "text[]", Arc::new(lists.finish()), seed).await;
}

#[tokio::test]
async fn random_values_inside_of_others_are_the_same_in_both_forms() {
    let setup = "CREATE TYPE inner_row AS (a text, b float8); CREATE TYPE outer_row AS (r inner_row, rs inner_row[], t text); \
                 CREATE TYPE text_range AS RANGE (subtype = text, collation = \"C\"); CREATE EXTENSION hstore;";
    let Some(database) = database(setup).await else { return };
    let seed = seed();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let texts: StringArray = (0..1_000).map(|_| Some(odd_text(&mut random))).collect();
    let schema = Schema::new(vec![Field::new("v", arrow::datatypes::DataType::Utf8, true)]);
    let batch = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(texts)]).unwrap();
    database.execute("CREATE TABLE texts (id serial, v text)").await;
    database.write("texts", &batch).await.unwrap();
    for (table, declared, expression) in [
        (
            "rows",
            "outer_row",
            "ROW(ROW(v, length(v) * 0.1)::inner_row, array[ROW(v, NULL)::inner_row, NULL, ROW(NULL, 1e300)::inner_row], v)::outer_row",
        ),
        ("ranges", "text_range", "text_range(v, nullif(v || v, '') || '~')"),
        (
            "range_lists",
            "text_range[]",
            "array[text_range(v, NULL), NULL, text_range(NULL, v)]",
        ),
        (
            "maps",
            "hstore",
            "hstore(array[v, v || v, 'n'], array[v, NULL, 'NULL'])",
        ),
        (
            "vectors",
            "tsvector",
            "array_to_tsvector(array_remove(array[v, 'x' || v], ''))",
        ),
    ] {
        let column = format!(
            "CREATE TABLE {table} (id int, v {declared}); CREATE TABLE {table}_copy (id serial, v {declared}); INSERT INTO {table} SELECT id, {expression} FROM texts"
        );
        database.execute(&column).await;
        let column = database.column(table).await;
        for wanted in [None, Some(Override::Text)] {
            let field = field(&column, wanted).unwrap();
            let binary = database.read_binary(table, &column, &field).await.unwrap();
            let text = database.read_text(table, &column, &field).await;
            for row in 0..binary.num_rows() {
                let (ours, theirs) = (binary.column(0).slice(row, 1), text.column(0).slice(row, 1));
                assert_eq!(&ours, &theirs, "{table}, POSTGRES_TYPES_SEED={seed}");
            }
            database
                .execute(&format!("TRUNCATE {table}_copy RESTART IDENTITY"))
                .await;
            database.write(&format!("{table}_copy"), &binary).await.unwrap();
            let differences = database.differences(table, &format!("{table}_copy")).await;
            assert_eq!(differences, Vec::<String>::new(), "{table}, POSTGRES_TYPES_SEED={seed}");
        }
    }
}
