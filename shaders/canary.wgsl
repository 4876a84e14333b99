// The last dispatch of every submission: a readback with an outdated canary shows that the device
// did not finish its work (on Metal a timed-out command buffer reports success).
//
// run:    [number of this run]
// canary: [number of the run that finished last, submissions finished so far]

@group(0) @binding(0) var<storage, read> run: array<u32>;
@group(0) @binding(1) var<storage, read_write> canary: array<u32>;

@compute @workgroup_size(1)
fn main() {
    canary[0] = run[0];
    canary[1] = canary[1] + 1u;
}
