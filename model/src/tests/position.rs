use proptest::prelude::*;

use crate::{Order, Page, Partition, Position, StreamId};

fn any_order() -> impl Strategy<Value = Order> {
    // Small parts as well as any: the edges of the text form lie at zero.
    let part = || prop_oneof![Just(0u64), 0u64..3, any::<u64>()];
    (part(), part(), part()).prop_map(|(i, k, o)| Order::new(i as u32, k, o as u32))
}

proptest! {
    #[test]
    fn order_keeps_its_three_parts(i in any::<u32>(), k in any::<u64>(), o in any::<u32>()) {
        let order = Order::new(i, k, o);
        prop_assert_eq!((order.incarnation(), order.key(), order.ordinal()), (i, k, o));
    }

    #[test]
    fn order_compares_as_its_parts_and_as_its_bytes(a in any_order(), b in any_order()) {
        let parts = |order: Order| (order.incarnation(), order.key(), order.ordinal());
        prop_assert_eq!(a.cmp(&b), parts(a).cmp(&parts(b)));
        prop_assert_eq!(a.cmp(&b), a.to_be_bytes().cmp(&b.to_be_bytes()));
    }

    #[test]
    fn order_is_read_back_from_its_text(order in any_order()) {
        prop_assert_eq!(order.to_string().parse(), Ok(order));
        let json = serde_json::to_string(&order).unwrap();
        prop_assert_eq!(serde_json::from_str::<Order>(&json).unwrap(), order);
    }

    #[test]
    fn any_text_is_an_order_or_refused(text in ".{0,12}") {
        if let Ok(order) = text.parse::<Order>() {
            prop_assert_eq!(order.to_string().parse(), Ok(order));
        }
    }

    #[test]
    fn position_keeps_every_byte_of_its_token(order in any_order(), token in any::<Vec<u8>>()) {
        let position = Position::with_token(order, token);
        let json = serde_json::to_string(&position).unwrap();
        prop_assert_eq!(serde_json::from_str::<Position>(&json).unwrap(), position);
    }
}

#[test]
fn order_shows_only_the_parts_that_are_not_zero() {
    let shown =
        [(0, 0, 0), (0, 7, 0), (0, 7, 2), (3, 7, 0), (3, 0, 2)].map(|(i, k, o)| Order::new(i, k, o).to_string());
    assert_eq!(shown, ["0", "7", "7.2", "3:7", "3:0.2"]);
}

#[test]
fn order_refuses_other_text() {
    for text in [
        "",
        "x",
        "1:",
        ":1",
        "1.",
        ".1",
        "1:2:3",
        "1.2.3",
        "-1",
        "4294967296:0",
        "0.4294967296",
        "18446744073709551616",
    ] {
        let refused = text.parse::<Order>().unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!("cannot read order `{text}`: expected `[incarnation:]key[.ordinal]`")
        );
    }
}

#[test]
fn unread_is_after_every_page_of_a_range() {
    assert!(Page::new(0, Page::UNREAD) > Page::new(0, Page::UNREAD - 1));
    assert_eq!(Page::new(3, 7).order(), Order::new(0, 7, 0));
}

#[test]
fn partition_prints_as_in_incident_logs() {
    let range = Partition::Range {
        stream: StreamId::in_schema("public", "orders"),
        run: 2,
        range: 5,
    };
    assert_eq!(
        format!("{range} {:?}", Partition::log("wal-7")),
        "public.orders#2/5 wal-7"
    );
    assert!(Partition::log("x").is_log() && !range.is_log());
}
