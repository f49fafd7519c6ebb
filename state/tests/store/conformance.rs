use highwater_state::{MemoryStore, SledStore, conformance};

/// Runs each promise against both stores.
macro_rules! promises {
    ($($promise:ident)+) => {
        mod memory {
            $(
                #[tokio::test]
                async fn $promise() {
                    let memory = super::MemoryStore::new();
                    super::conformance::$promise(|| memory.clone()).await;
                }
            )+
        }

        mod sled {
            $(
                #[tokio::test]
                async fn $promise() {
                    let dir = tempfile::tempdir().unwrap();
                    let open = || {
                        let (store, notices) = super::SledStore::open(dir.path()).unwrap();
                        assert_eq!(notices, [], "a clean close leaves nothing to tell");
                        store
                    };
                    super::conformance::$promise(open).await;
                }
            )+
        }
    };
}

promises! {
    empty_store_holds_nothing
    put_is_found_again
    put_ignores_the_epoch_of_the_value
    put_replaces_the_whole_value
    put_refuses_another_epoch
    names_keep_values_apart
    kept_values_are_replaced_as_a_whole
    pipelines_are_listed_in_order
    forget_removes_one_pipeline
    concurrent_writes_are_decided_one_by_one
}
