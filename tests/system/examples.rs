//! Every example of help, manual pages and README is run, and does what is said of it.
//!
//! An example that is new in a document needs a row in one of the tables: its exact text, what it
//! finds, how it is run, and what is true after.

mod documents;
mod files;
mod images;
mod network;
mod pods;
mod real;
mod services;
mod setup;
mod table;
mod trust;
mod world;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use self::table::{How, Row};
use self::world::World;

const TABLES: [&[Row]; 7] = [
    images::ROWS,
    network::ROWS,
    pods::ROWS,
    real::ROWS,
    services::ROWS,
    setup::ROWS,
    trust::ROWS,
];

/// Runs all rows of a table, so that all that is wrong is seen at once.
#[track_caller]
fn try_all(world: &mut World, rows: &[Row]) {
    let mut failed = Vec::new();
    for row in rows {
        println!("--- {}", row.text);
        if catch_unwind(AssertUnwindSafe(|| world.try_out(row))).is_err() {
            failed.push(row.text);
        }
    }
    assert!(failed.is_empty(), "these examples fail: {failed:#?}");
}

#[test]
fn every_example_has_a_test() {
    let documents = documents::examples();
    let rows = TABLES.iter().copied().flatten();
    let tables: Vec<_> = rows.map(|row| row.text.to_owned()).collect();
    let unique: BTreeSet<_> = tables.iter().cloned().collect();
    assert_eq!(unique.len(), tables.len(), "an example is tested twice");
    let new: Vec<_> = documents.difference(&unique).collect();
    assert!(new.is_empty(), "new examples without a test: {new:#?}");
    let old: Vec<_> = unique.difference(&documents).collect();
    assert!(old.is_empty(), "in no document any more: {old:#?}");
}

#[test]
fn examples_that_are_run_elsewhere_are_few() {
    let rows = TABLES.iter().copied().flatten();
    let elsewhere = rows.filter_map(|row| match row.how {
        How::Elsewhere(why) => Some(format!("{}: {why}", row.text)),
        _ => None,
    });
    let elsewhere: Vec<_> = elsewhere.collect();
    assert!(elsewhere.len() < 10, "{elsewhere:#?}");
}
