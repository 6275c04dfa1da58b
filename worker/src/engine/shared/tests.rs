//! The promises about loads that several pods read: whoever helps, dies, lags or lies, each row is delivered once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{Board, Sharing, board::Parts, help, notice::Announced};
use crate::{
    engine::{
        counts::Counts,
        flow::{
            Flow, Request, Wanted,
            tests::{Bench, Desk, table},
        },
    },
    storage::{
        Storage,
        cas::{CasStore, MemoryCas},
    },
};

const PARTS: usize = 12;

/// A place to meet, and a Flow that leads.
struct Ground {
    bench: Bench,
    documents: Arc<MemoryCas>,
    objects: tempfile::TempDir,
}

impl Ground {
    /// Each part takes the leader so long.
    async fn new(mode: &str, key: &str, pause: Duration) -> Self {
        let mut bench = Bench::new(mode, key, PARTS).await;
        let desk = Desk {
            rows: bench.rows.clone(),
            parts: PARTS,
            pause,
            broken: false,
        };
        bench.flow = flow(&bench, desk).await;
        Self {
            bench,
            documents: Arc::default(),
            objects: tempfile::tempdir().unwrap(),
        }
    }

    fn board(&self) -> Board {
        Board::at(
            self.documents.clone(),
            Storage::directory(self.objects.path()),
            "default/lake",
        )
    }

    fn request(&self, index: u32) -> Request {
        Request {
            load: Some(Wanted::Full),
            run: "run-1".to_owned(),
            sharing: Some(Sharing {
                patience: Duration::from_secs(2),
                ..Sharing::new(self.board(), index, 3)
            }),
            ..Request::default()
        }
    }

    /// The Flow of another pod, whose desk differs as `edit` says.
    async fn helper(&self, edit: impl FnOnce(&mut Desk)) -> Flow {
        let mut desk = Desk {
            parts: PARTS,
            ..Desk::default()
        };
        edit(&mut desk);
        flow(&self.bench, desk).await
    }

    /// Leads a load while others help; gives its counts, and how many parts each helper read.
    async fn share(&self, helpers: &[Flow]) -> (Counts, Vec<usize>) {
        let over = AtomicBool::new(false);
        let lead = async {
            let counts = self.bench.load(self.request(0)).await.unwrap();
            over.store(true, Ordering::Relaxed);
            counts
        };
        let helping = helpers.iter().zip(1..).map(async |(flow, index)| {
            let request = self.request(index);
            let sharing = request.sharing.clone().unwrap();
            help(flow, &sharing, &request, async || over.load(Ordering::Relaxed)).await
        });
        tokio::join!(lead, futures::future::join_all(helping))
    }

    async fn assert_clean(&self) {
        assert_eq!(self.documents.list("").await.unwrap(), Vec::<String>::new());
        let objects = Storage::directory(self.objects.path()).list("").await.unwrap();
        assert_eq!(objects, Vec::new());
    }
}

async fn flow(bench: &Bench, desk: Desk) -> Flow {
    let plan = bench.flow.plan.as_ref().clone();
    Flow::with_source(plan, &Arc::default(), Arc::new(desk))
        .await
        .unwrap()
}

fn refused(ground: &Ground) -> usize {
    let mut lines = 0;
    let mut folders = vec![ground.bench.directory.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "ndjson") {
                lines += std::fs::read_to_string(path).unwrap().lines().count();
            }
        }
    }
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn helpers_change_nothing_but_the_time() {
    for (mode, key) in [
        ("upsert", "id"),
        ("append", ""),
        ("overwrite", "id"),
        ("overwrite", ""),
    ] {
        let ground = Ground::new(mode, key, Duration::from_millis(300)).await;
        let helpers = [ground.helper(|_| ()).await, ground.helper(|_| ()).await];
        *ground.bench.rows.lock().unwrap() = table(0..6000);
        let (counts, parts) = ground.share(&helpers).await;
        assert_eq!((counts.read, counts.inserted), (6000, 6000), "{mode} {key}");
        assert!(parts.iter().sum::<usize>() > 0, "nobody helped: {parts:?}");
        ground.bench.assert_same().await;
        ground.assert_clean().await;
        if mode == "append" {
            continue;
        }
        {
            let mut rows = ground.bench.rows.lock().unwrap();
            rows.retain(|(id, _)| *id != Some(17));
            rows[2000].1 = Some("other".to_owned());
            rows.push((Some(6000), None));
        }
        let (counts, parts) = ground.share(&helpers).await;
        assert_eq!(counts.read, 6000);
        if mode == "upsert" {
            assert_eq!(
                (counts.inserted, counts.updated, counts.deleted, counts.unchanged),
                (1, 1, 1, 5998)
            );
        }
        assert!(parts.iter().sum::<usize>() > 0, "nobody helped: {parts:?}");
        ground.bench.assert_same().await;
        ground.assert_clean().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_two_pods_read_is_delivered_once_and_refused_rows_are_kept() {
    let ground = Ground::new("upsert", "id", Duration::from_millis(300)).await;
    let helpers = [ground.helper(|_| ()).await, ground.helper(|_| ()).await];
    let mut rows = table((0..3000).chain(0..3000));
    rows.extend((0..120).map(|_| (None, None)));
    *ground.bench.rows.lock().unwrap() = rows;
    for first in [true, false] {
        let (counts, parts) = ground.share(&helpers).await;
        assert!(parts.iter().sum::<usize>() > 0, "nobody helped: {parts:?}");
        let inserted = if first { 3000 } else { 0 };
        assert_eq!((counts.read, counts.inserted), (6120, inserted), "{counts:?}");
        assert_eq!((counts.superseded, counts.refused), (3000, 120), "{counts:?}");
    }
    assert_eq!(refused(&ground), 240);
    *ground.bench.rows.lock().unwrap() = table(0..3000);
    ground.bench.assert_same().await;
    ground.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_parts_of_helpers_that_fail_or_vanish_are_read_by_the_leader() {
    let ground = Ground::new("upsert", "id", Duration::from_millis(300)).await;
    *ground.bench.rows.lock().unwrap() = table(0..6000);
    let broken = ground.helper(|desk| desk.broken = true).await;
    let (counts, parts) = ground.share(&[broken]).await;
    assert_eq!((counts.inserted, parts), (6000, vec![0]));
    ground.bench.assert_same().await;
    ground.assert_clean().await;

    *ground.bench.rows.lock().unwrap() = table(3000..9000);
    let slow = ground.helper(|desk| desk.pause = Duration::from_hours(1)).await;
    let request = ground.request(1);
    let sharing = request.sharing.clone().unwrap();
    let vanishing = help(&slow, &sharing, &request, async || false);
    let vanishing = tokio::time::timeout(Duration::from_millis(2500), vanishing);
    let (counts, _) = tokio::join!(ground.bench.load(ground.request(0)), vanishing);
    let counts = counts.unwrap();
    assert_eq!(
        (counts.inserted, counts.deleted, counts.unchanged),
        (3000, 3000, 3000)
    );
    ground.bench.assert_same().await;
    ground.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_attempt_of_a_leader_that_died_is_nobodys() {
    let ground = Ground::new("upsert", "id", Duration::from_millis(300)).await;
    *ground.bench.rows.lock().unwrap() = table(0..6000);
    let slow = flow(
        &ground.bench,
        Desk {
            rows: ground.bench.rows.clone(),
            parts: PARTS,
            pause: Duration::from_hours(1),
            broken: false,
        },
    )
    .await;
    let request = ground.request(0);
    let board = ground.board();
    let attempt = async {
        loop {
            if let Some((attempt, _)) = board.notices("run-1", 1).await.unwrap().pop() {
                break attempt;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let attempt = tokio::select! {
        ended = slow.run(&request, &|_, _| ()) => panic!("{ended:?}"),
        attempt = attempt => attempt,
    };
    assert!(
        board.notices("run-2", 1).await.unwrap().is_empty(),
        "of another run"
    );
    assert!(board.notices("run-1", 0).await.unwrap().is_empty(), "its own");

    // Its attempt is left, and somebody who does not know goes on with it, now and after all is over.
    let lie = Announced {
        counts: Some(Counts {
            read: 1,
            inserted: 1,
            ..Counts::default()
        }),
        ..Announced::default()
    };
    board.finish(&attempt, 3, &lie).await.unwrap();
    let helpers = [ground.helper(|_| ()).await];
    let (counts, parts) = ground.share(&helpers).await;
    assert_eq!((counts.read, counts.inserted), (6000, 6000));
    assert!(parts[0] > 0);
    ground.bench.assert_same().await;
    ground.assert_clean().await;

    board.finish(&attempt, 4, &lie).await.unwrap();
    assert!(!board.is_open(&attempt).await.unwrap());
    let counts = ground.bench.load(ground.request(0)).await.unwrap();
    assert_eq!(counts.unchanged, 6000);
    ground.bench.assert_same().await;
    ground.assert_clean().await;
}

#[tokio::test]
async fn a_part_is_claimed_once_and_its_first_announcement_counts() {
    let objects = tempfile::tempdir().unwrap();
    let documents: Arc<dyn CasStore> = Arc::new(MemoryCas::default());
    let board = Board::at(documents, Storage::directory(objects.path()), "a/b");
    let attempt = Board::attempt("s", 1);
    assert!(board.claim(&attempt, 0, 1).await.unwrap());
    assert!(!board.claim(&attempt, 0, 2).await.unwrap());
    let told = |pod| Announced {
        pod,
        ..Announced::default()
    };
    board.finish(&attempt, 0, &told(1)).await.unwrap();
    board.finish(&attempt, 0, &told(2)).await.unwrap();
    assert_eq!(board.finished(&attempt, 0).await.unwrap(), Some(told(1)));
    let parts = board.parts(&attempt).await.unwrap();
    assert_eq!((parts.claimed, parts.announced), ([0].into(), [0].into()));
    board.sweep("s", 1).await.unwrap();
    assert_ne!(
        board.parts(&attempt).await.unwrap(),
        Parts::default(),
        "its own epoch"
    );
    board.sweep("s", 2).await.unwrap();
    assert_eq!(board.parts(&attempt).await.unwrap(), Parts::default());
}
