#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    // What is not taken is as good an input as any other.
    let _ = harness::pod_file::run(input);
});
