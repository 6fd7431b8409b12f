use super::Severity::{Damage, Info, Unchecked, Warning};
use super::*;

fn digests() -> impl Iterator<Item = Digest> {
    (0..10_000_u32).map(|n| Digest::of(&n.to_be_bytes()))
}

fn plan(read: ReadBytes, subset: Option<Subset>) -> VerifyPlan {
    let now = Timestamp::UNIX_EPOCH;
    VerifyPlan { read, subset, now }
}

#[test]
fn parts_are_alike_in_size_and_have_every_object_once() {
    for of in [1, 2, 7] {
        let mut read = vec![0; 10_000];
        for part in 1..=of {
            let plan = plan(ReadBytes::All, Some(Subset { part, of }));
            let mut in_part = 0;
            for (times, digest) in read.iter_mut().zip(digests()) {
                let reads = u32::from(plan.reads(digest, false));
                *times += reads;
                in_part += reads;
            }
            assert!(
                in_part.abs_diff(10_000 / of) < 500 / of,
                "{part}/{of}: {in_part}"
            );
        }
        assert!(read.iter().all(|times| *times == 1));
    }
}

#[test]
fn sample_is_about_one_in_64_in_every_part() {
    let count = |subset| {
        let plan = plan(ReadBytes::Sample, subset);
        digests()
            .filter(|digest| plan.reads(*digest, false))
            .count()
    };
    assert!((100..220).contains(&count(None)), "{}", count(None));
    let parts = (1..=64).map(|part| count(Some(Subset { part, of: 64 })));
    assert_eq!(parts.clone().sum::<usize>(), count(None));
    assert!(parts.max().unwrap() < 20);
    let none = plan(ReadBytes::None, None);
    assert!(digests().all(|digest| !none.reads(digest, true)));
    let sample = plan(ReadBytes::Sample, None);
    assert!(digests().all(|digest| sample.reads(digest, true)));
}

#[test]
fn worst_finding_decides_how_the_process_ends() {
    let code = |severities: &[Severity]| {
        let mut report = VerifyReport::default();
        for severity in severities {
            report.count(*severity);
        }
        report.exit_code()
    };
    assert_eq!(code(&[]), ExitCode::Done);
    assert_eq!(code(&[Info, Info]), ExitCode::Done);
    assert_eq!(code(&[Info, Warning]), ExitCode::Findings);
    assert_eq!(code(&[Warning, Unchecked]), ExitCode::Failed);
    assert_eq!(code(&[Unchecked, Damage, Info]), ExitCode::Damage);
}

#[test]
fn presence_is_that_of_the_object_version_that_is_named() {
    let version = |name: &str| Some(ObjectVersion(name.to_owned()));
    let listed = Listed {
        objects: vec![(version("a"), 5), (version("b"), 7), (version("c"), 5)],
        count: 3,
        markers: 1,
    };
    let presence = |name, size| listed.presence(version(name).as_ref(), size);
    assert_eq!(presence("a", 5), Presence::AsNamed);
    assert_eq!(presence("a", 7), Presence::OtherSize(5));
    assert_eq!(presence("d", 5), Presence::Gone);
    assert_eq!(listed.presence(None, 5), Presence::Gone);
    let a = version("a");
    let others: Vec<_> = listed.others(a.as_ref(), 5).collect();
    assert_eq!(others, [version("c").as_ref()]);
    let planted = listed.planted(1).unwrap();
    assert_eq!(planted.severity, Warning);
    assert!(planted.what.contains("2 object versions"), "{planted:?}");
    assert!(planted.what.contains("1 delete marker"), "{planted:?}");
    assert_eq!(
        Listed {
            markers: 0,
            ..listed
        }
        .planted(3),
        None
    );
}
