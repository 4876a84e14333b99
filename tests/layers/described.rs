//! Layers as model files describe them, and what each says of itself.

use dcgan::nn::{BatchDependence, Layer, LayerRole, Reach, Sequential};

/// Each layer as files have it, with what it says: its role, how it depends on its batch, and whether a
/// number follows from the same pixel (p), a window (w) or more (m).
const LAYERS: &[(&str, LayerRole, BatchDependence, char)] = &{
    use BatchDependence::{Always, Compares, None, Training};
    use LayerRole::{Activation, Block, Disturbance, Other, Weights};
    [
        (
            r#"{"layer":"conv","spec":{"kernel":[4,4],"stride":[2,2],"pad":[1,1],"large":[8,8],"small":[4,4]},"large":3,"small":5,"layout":"conv","bias":false}"#,
            Weights,
            None,
            'w',
        ),
        (
            r#"{"layer":"conv","spec":{"kernel":[1,1],"stride":[1,1],"pad":[0,0],"large":[1,1],"small":[1,1]},"large":3,"small":5,"layout":"flatten","bias":true,"weight":"norm-fixed","start":{"xavier":{"gain":1.0,"uniform":true}}}"#,
            Weights,
            None,
            'w',
        ),
        (
            r#"{"layer":"conv_transpose","spec":{"kernel":[4,4],"stride":[1,1],"pad":[0,0],"large":[4,4],"small":[1,1]},"large":3,"small":5,"layout":"project","bias":true,"weight":"spectral","start":{"orthogonal":{"gain":1.0}}}"#,
            Weights,
            None,
            'm',
        ),
        (
            r#"{"layer":"batch_norm","channels":4,"cells":[1,1],"eps":0.5,"statistics":"running"}"#,
            Other,
            Training,
            'p',
        ),
        (
            r#"{"layer":"batch_norm","channels":4,"cells":[1,1],"eps":0.5,"statistics":"running","affine":false}"#,
            Other,
            Training,
            'p',
        ),
        (
            r#"{"layer":"batch_norm","channels":4,"cells":[4,3],"eps":0.5,"statistics":"batch"}"#,
            Other,
            Always,
            'p',
        ),
        (
            r#"{"layer":"conditional_batch_norm","channels":4,"classes":3,"eps":0.5}"#,
            Other,
            Training,
            'm',
        ),
        (r#"{"layer":"reference","count":5,"size":[1,1,6],"uniform":true}"#, Other, None, 'm'),
        (r#"{"layer":"virtual_batch_norm","channels":4,"eps":0.5}"#, Other, None, 'm'),
        (r#"{"layer":"group_norm","groups":2,"channels":4,"eps":0.5}"#, Other, None, 'm'),
        (r#"{"layer":"pixel_norm","eps":0.5}"#, Other, None, 'p'),
        (r#"{"layer":"pixel_bias","size":[4,4,3]}"#, Other, None, 'p'),
        (r#"{"layer":"leaky_relu","slope":0.25}"#, Activation, None, 'p'),
        (r#"{"layer":"maxout","pieces":5}"#, Activation, None, 'p'),
        (r#"{"layer":"tanh"}"#, Activation, None, 'p'),
        (r#"{"layer":"sigmoid"}"#, Activation, None, 'p'),
        (r#"{"layer":"softplus"}"#, Activation, None, 'p'),
        (r#"{"layer":"identity"}"#, Other, None, 'p'),
        (r#"{"layer":"label","classes":10}"#, Other, None, 'p'),
        (r#"{"layer":"join","input":"z"}"#, Other, None, 'p'),
        (r#"{"layer":"join","input":"z","layers":[{"layer":"tanh"}]}"#, Other, None, 'p'),
        (r#"{"layer":"codes","categories":10,"numbers":2,"uniform":false}"#, Other, None, 'm'),
        (r#"{"layer":"flatten"}"#, Other, None, 'm'),
        (r#"{"layer":"upsample"}"#, Other, None, 'm'),
        (r#"{"layer":"average_pool"}"#, Other, None, 'w'),
        (r#"{"layer":"sum_pool"}"#, Other, None, 'm'),
        (r#"{"layer":"noise","std":0.5}"#, Disturbance, None, 'p'),
        (r#"{"layer":"dropout","p":0.5}"#, Disturbance, None, 'p'),
        (
            r#"{"layer":"minibatch_discrimination","features":6,"kernels":5,"dims":2}"#,
            Other,
            Compares,
            'm',
        ),
        (r#"{"layer":"minibatch_std","group":4}"#, Other, Compares, 'm'),
        (r#"{"layer":"attention","channels":8,"weight":"norm"}"#, Other, None, 'm'),
        (r#"{"layer":"residual","main":[{"layer":"softplus"}],"shortcut":[]}"#, Block, None, 'm'),
        (
            r#"{"layer":"projection","features":8,"classes":3,"start":{"normal":{"std":0.5}}}"#,
            Weights,
            None,
            'm',
        ),
    ]
};

#[test]
fn layers_are_read_and_written_as_ever() {
    for (json, role, batch, reach) in LAYERS {
        let layer: Layer = serde_json::from_str(json).unwrap_or_else(|e| panic!("{json}: {e}"));
        assert_eq!(serde_json::to_string(&layer).unwrap(), *json);
        let found = match layer.reach() {
            Reach::Pixel => 'p',
            Reach::Window { .. } => 'w',
            Reach::More => 'm',
        };
        assert_eq!((layer.role(), layer.batch(), found), (*role, *batch, *reach), "{json}");
        // What is written in it and means nothing here may matter.
        let more = json.replacen("\",", "\",\"other\":1,", 1);
        if more != *json {
            let error = serde_json::from_str::<Layer>(&more).expect_err(&more).to_string();
            assert!(error.contains("unknown field `other`"), "{error}");
        }
    }
}

/// The three questions about the batch, of a layer by itself and of one within others.
#[test]
fn there_is_one_answer_to_how_images_depend_on_their_batch() {
    for (json, _, batch, _) in LAYERS {
        let within = format!(
            r#"[{{"layer":"residual","main":[{{"layer":"join","input":"z","layers":[{json}]}}],"shortcut":[]}}]"#
        );
        for json in [format!("[{json}]"), within] {
            let network: Sequential = serde_json::from_str(&json).unwrap();
            let found =
                [network.needs_batch(), network.lacks_statistics(), network.normalizes_by_batch()];
            let wanted = match batch {
                BatchDependence::None => [false, false, false],
                BatchDependence::Training => [false, false, true],
                BatchDependence::Always => [true, true, true],
                BatchDependence::Compares => [true, false, false],
            };
            assert_eq!(found, wanted, "{json}");
            let running = network.with_running_statistics();
            assert!(!running.lacks_statistics());
            assert_eq!(running.normalizes_by_batch(), network.normalizes_by_batch());
        }
    }
}
