//! What happens to the table and to the vault, at random.

use deltavault::format::Scope;
use proptest::prelude::*;

use crate::support::fault_store::Fault;
use crate::support::table::CheckpointForm;

/// One thing that happens. Numbers choose among what there is at that time.
#[derive(Debug, Clone)]
pub(super) enum Op {
    Write(Write),
    Snapshot { scope: Scope, kill: Option<Kill> },
    Wait { days: i64 },
    Prune,
    Plant(usize),
    DeleteMarker(usize),
    Flip(usize),
    DeleteStray(usize),
    RestoreInPlace { damage: usize },
    Heal { snapshot: usize, damage: usize },
}

/// What a writer of the table does, or somebody who should not.
#[derive(Debug, Clone)]
pub(super) enum Write {
    Append { files: usize, size: usize },
    Delete(usize),
    Update,
    DeleteRows(usize),
    DeleteRowsInline(usize),
    ChangeData,
    AddAgain(usize),
    Checkpoint(CheckpointForm),
    CleanUpLog,
    Vacuum,
    Drop,
    MakeAnew,
    Rewind(usize),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Kill {
    pub(super) at_source: bool,
    pub(super) call: usize,
    pub(super) fault: Fault,
}

pub(super) fn ops() -> impl Strategy<Value = Vec<Op>> {
    let kill = (any::<bool>(), 1..60_usize, any::<bool>()).prop_map(|(at_source, call, before)| {
        let fault = if before { Fault::Before } else { Fault::After };
        Kill {
            at_source,
            call,
            fault,
        }
    });
    let kill = prop::option::weighted(0.2, kill);
    let scope = prop_oneof![3 => Just(Scope::Live), 1 => Just(Scope::History)];
    let size = prop_oneof![20 => 1..3000_usize, 1 => Just(1024 * 1024 + 1)];
    let form = prop_oneof![
        Just(CheckpointForm::Json),
        Just(CheckpointForm::Classic),
        (1..4_usize).prop_map(CheckpointForm::Sidecars),
    ];
    let of_table = prop_oneof![
        6 => (1..4_usize, size).prop_map(|(files, size)| Write::Append { files, size }),
        3 => (1..3_usize).prop_map(Write::Delete),
        2 => Just(Write::Update),
        3 => (1..4_usize).prop_map(Write::DeleteRows),
        1 => (1..3_usize).prop_map(Write::DeleteRowsInline),
        1 => Just(Write::ChangeData),
        1 => any::<usize>().prop_map(Write::AddAgain),
        4 => form.prop_map(Write::Checkpoint),
        2 => Just(Write::CleanUpLog),
        2 => Just(Write::Vacuum),
        1 => Just(Write::Drop),
        1 => Just(Write::MakeAnew),
        1 => (1..4_usize).prop_map(Write::Rewind),
    ];
    let of_vault = prop_oneof![
        20 => (scope, kill).prop_map(|(scope, kill)| Op::Snapshot { scope, kill }),
        3 => prop_oneof![Just(1), Just(29)].prop_map(|days| Op::Wait { days }),
        2 => Just(Op::Prune),
        2 => any::<usize>().prop_map(Op::Plant),
        1 => any::<usize>().prop_map(Op::DeleteMarker),
        1 => any::<usize>().prop_map(Op::Flip),
        1 => any::<usize>().prop_map(Op::DeleteStray),
        3 => any::<usize>().prop_map(|damage| Op::RestoreInPlace { damage }),
        2 => any::<(usize, usize)>().prop_map(|(snapshot, damage)| Op::Heal { snapshot, damage }),
    ];
    prop::collection::vec(
        prop_oneof![3 => of_table.prop_map(Op::Write), 2 => of_vault],
        1..30,
    )
}
