use proptest::prelude::*;

use super::*;

fn sealed() -> (SealedFile, Arc<AtomicBool>) {
    let damaged = Arc::new(AtomicBool::new(false));
    (
        SealedFile::new(tempfile::tempfile().unwrap(), Arc::clone(&damaged), true),
        damaged,
    )
}

fn filled(blocks: u8) -> (SealedFile, Arc<AtomicBool>) {
    let (sealed, damaged) = sealed();
    sealed.set_len(u64::from(blocks) * DATA as u64).unwrap();
    for block in 0..blocks {
        sealed
            .write(u64::from(block) * DATA as u64, &[block + 1; DATA])
            .unwrap();
    }
    (sealed, damaged)
}

#[test]
fn every_flipped_bit_is_noticed() {
    let (sealed, damaged) = filled(3);
    let mut out = [0; DATA];
    for position in (0..3 * BLOCK as u64).step_by(29) {
        let block = position / BLOCK as u64;
        let mut byte = [0];
        sealed.file.read_exact_at(&mut byte, position).unwrap();
        for bit in 0..8 {
            sealed
                .file
                .write_all_at(&[byte[0] ^ (1 << bit)], position)
                .unwrap();
            assert!(
                sealed.read(block * DATA as u64, &mut out).is_err(),
                "bit {bit} of byte {position}"
            );
            assert!(damaged.swap(false, Ordering::Relaxed));
        }
        sealed.file.write_all_at(&byte, position).unwrap();
        sealed.read(block * DATA as u64, &mut out).unwrap();
    }
}

#[test]
fn a_block_in_the_place_of_another_is_noticed() {
    let (sealed, _) = filled(2);
    let mut block = [0; BLOCK];
    sealed.file.read_exact_at(&mut block, 0).unwrap();
    sealed.file.write_all_at(&block, BLOCK as u64).unwrap();
    assert!(sealed.read(DATA as u64, &mut [0; DATA]).is_err());
}

#[test]
fn a_file_that_was_cut_off_is_noticed() {
    let (sealed, damaged) = filled(2);
    sealed.file.set_len(BLOCK as u64 * 2 - 1).unwrap();
    assert!(sealed.len().is_err());
    assert!(damaged.swap(false, Ordering::Relaxed));
    assert!(sealed.read(DATA as u64, &mut [0; 1]).is_err());
    assert!(damaged.load(Ordering::Relaxed));
}

#[test]
fn a_change_of_the_header_stays_within_the_first_sector() {
    let (sealed, _) = filled(1);
    let before = {
        let mut block = [0; BLOCK];
        sealed.file.read_exact_at(&mut block, 0).unwrap();
        block
    };
    sealed.write(0, &[9; 320]).unwrap();
    let mut after = [0; BLOCK];
    sealed.file.read_exact_at(&mut after, 0).unwrap();
    let last = (0..BLOCK).rfind(|&position| before[position] != after[position]);
    assert_eq!(last, Some(SEAL + 320 - 1));
    sealed.read(0, &mut [0; DATA]).unwrap();
}

#[test]
fn without_sync_nothing_is_synced() {
    // The system refuses to sync this one, which tells whether it was asked to.
    let open = |sync| SealedFile::new(File::open("/dev/null").unwrap(), Arc::default(), sync);
    assert!(open(true).sync_data().is_err());
    assert!(open(false).sync_data().is_ok());
}

proptest! {
    #[test]
    fn it_reads_back_what_was_written_anywhere(
        writes in prop::collection::vec((0_usize..5 * DATA, 1_usize..2 * DATA, any::<u8>()), 1..20),
    ) {
        let (sealed, _) = sealed();
        sealed.set_len(8 * DATA as u64).unwrap();
        let mut model = vec![0; 8 * DATA];
        for (offset, length, byte) in writes {
            sealed.write(offset as u64, &vec![byte; length]).unwrap();
            model[offset..offset + length].fill(byte);
            let mut out = vec![0; length + 100];
            sealed.read(offset as u64, &mut out).unwrap();
            prop_assert!(out == model[offset..offset + length + 100]);
        }
        let mut all = vec![0; 8 * DATA];
        sealed.read(0, &mut all).unwrap();
        prop_assert!(all == model);
        prop_assert_eq!(sealed.len().unwrap(), 8 * DATA as u64);
    }
}
