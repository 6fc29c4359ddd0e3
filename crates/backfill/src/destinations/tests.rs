use super::*;
use crate::encode::Encoding;
use crate::model::{ChunkId, DocumentPlan, WriteMode};
use crate::ports::{Acknowledge, ChunkWriter};
use crate::waits::Waits;
use async_trait::async_trait;
use std::sync::Mutex;
use std::time::Duration;

/// A target that has these places, and creates others as indices if it may.
#[derive(Debug)]
struct Cluster {
    places: Mutex<Places>,
    creates: bool,
}

#[async_trait]
impl Target for Cluster {
    fn location(&self) -> String {
        "http://target".to_owned()
    }

    fn encoding(&self) -> Encoding {
        Encoding::Bulk
    }

    fn acknowledge(&self) -> Acknowledge {
        Acknowledge::OnReply
    }

    fn max_in_flight(&self) -> usize {
        1
    }

    async fn check(&self) -> Result<(), TargetError> {
        Ok(())
    }

    async fn place(&self, name: &str) -> Result<Option<Place>, TargetError> {
        Ok(self.places.lock().unwrap().get(name).cloned().flatten())
    }

    async fn identity(&self, name: &str) -> Result<Option<Identity>, TargetError> {
        Ok(self.place(name).await?.map(|place| place.identity))
    }

    async fn create(&self, name: &str, _data_stream: bool) -> Result<bool, TargetError> {
        if self.creates {
            self.places.lock().unwrap().insert(name.to_owned(), Some(Place::index(identity(&[name]))));
        }
        Ok(self.creates)
    }

    async fn begin(
        &self,
        _run: &RunId,
        _chunk: &ChunkId,
        _destination: &str,
        _mode: WriteMode,
    ) -> Result<Box<dyn ChunkWriter>, TargetError> {
        Err(TargetError::Unexpected { target: self.location(), reason: "nothing is written".to_owned() })
    }
}

fn identity(names: &[&str]) -> Identity {
    Identity::Indices(names.iter().map(|name| ((*name).to_owned(), format!("uuid of {name}"))).collect())
}

fn cluster(places: &[(&str, &[&str], PlaceKind)], creates: bool) -> Cluster {
    let place =
        |indices: &[&str], kind: &PlaceKind| Some(Place { identity: identity(indices), kind: kind.clone() });
    let places = places.iter().map(|(name, indices, kind)| ((*name).to_owned(), place(indices, kind)));
    Cluster { places: Mutex::new(places.collect()), creates }
}

async fn look(
    plans: &mut [IndexPlan],
    target: &Cluster,
    create: bool,
) -> Result<Destinations, DestinationError> {
    let waits = Waits::default();
    Destinations::look(plans, &PatientTarget { target, waits: &waits, patience: Duration::ZERO }, create)
        .await
}

fn plan(name: &str, stream: Option<&str>) -> IndexPlan {
    IndexPlan {
        name: name.to_owned(),
        destination: stream.unwrap_or(name).to_owned(),
        data_stream: stream.is_some(),
        documents: DocumentPlan::default(),
        warnings: Vec::new(),
    }
}

#[test]
fn backing_indices_name_their_streams() {
    for (name, streams) in [
        (".ds-logs-000001", &["logs"][..]),
        (".ds-logs-app-eu-2024.01.31-000012", &["logs-app-eu", "logs-app-eu-2024.01.31"]),
        (".ds-2024.01.31-000012", &["2024.01.31"]),
        (".ds-logs-0001", &[]),
        (".ds--000001", &[]),
        (".ds-000001", &[]),
        ("logs-000001", &[]),
        (".ds-größe-12345x", &[]),
    ] {
        assert_eq!(streams_of(name), streams, "{name}");
    }
}

#[tokio::test]
async fn plans_are_adapted_to_what_the_target_has() {
    let backing = ".ds-logs-000001";
    let target = cluster(
        &[
            ("i", &["i"], PlaceKind::Index),
            ("plain", &["plain-1"], PlaceKind::Alias { routing: None }),
            ("routed", &["routed-1"], PlaceKind::Alias { routing: Some("r".to_owned()) }),
            ("logs", &[backing, ".ds-logs-000002"], PlaceKind::DataStream),
            (backing, &[backing], PlaceKind::Index),
            (".ds-own-000001", &[".ds-own-000001"], PlaceKind::Index),
            ("own", &[".ds-own-000002"], PlaceKind::DataStream),
        ],
        false,
    );
    let names = ["i", "plain", "routed", "logs", backing, ".ds-logs-000009", ".ds-own-000001"];
    let mut plans: Vec<IndexPlan> = names.iter().map(|name| plan(name, None)).collect();
    let found = look(&mut plans, &target, false).await.unwrap();
    let told: Vec<_> =
        plans.iter().map(|p| (p.destination.as_str(), p.write_mode(), p.warnings.len())).collect();
    let expected = [
        ("i", WriteMode::Index, 0),
        ("plain", WriteMode::Index, 0),
        ("routed", WriteMode::Index, 1),
        ("logs", WriteMode::Distinct, 1),
        ("logs", WriteMode::Distinct, 1),
        ("logs", WriteMode::Distinct, 1),
        (".ds-own-000001", WriteMode::Index, 0),
    ];
    assert_eq!(told, expected);
    assert_eq!(found.identities["logs"], Some(identity(&[backing, ".ds-logs-000002"])));
    assert!(!found.identities.contains_key(backing) && found.unvouched().is_none());
}

#[tokio::test]
async fn what_is_missing_is_created_or_told() {
    let mut plans = [plan("a", None), plan("b", Some("stream"))];
    let error = look(&mut plans, &cluster(&[], false), false).await.unwrap_err().to_string();
    assert!(error.contains("lacks a, stream: create them"), "{error}");
    let found = look(&mut plans, &cluster(&[], true), true).await.unwrap();
    assert_eq!(found.identities["a"], Some(identity(&["a"])));
    // Where it may not be created, the first document creates it, as far as that is allowed.
    let found = look(&mut plans, &cluster(&[], false), true).await.unwrap();
    let unvouched = found.unvouched().unwrap();
    assert!(unvouched.contains("UUIDs of a, stream (it is missing"), "{unvouched}");
}
