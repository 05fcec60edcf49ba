//! Records and keys of the metadata store, whatever a disk or an older version has made of them.

use objects::schema::{
    Etag, Home, Record, blob::Blob, body, bucket, bucket::Bucket, counter, garbage,
    garbage::Garbage, hold, hold::Hold, hold::Switch, kind_of, manifest, manifest::Manifest,
    object, object::Object, object::Summary, part, part::Part, pulse, pulse::Pulse, reference,
    reference::Reference, repair, repair::Repair, upload, upload::Upload,
};
use types::{BucketId, UploadId, VersionId};

use super::draw::Draw;

/// Any bytes under every record's decoder: none panics, and what one accepts survives being written again.
pub(super) fn records(data: &[u8]) {
    one::<Object>(data);
    one::<Blob>(data);
    one::<Bucket>(data);
    one::<Upload>(data);
    one::<Part>(data);
    one::<Manifest>(data);
    one::<Pulse>(data);
    one::<Reference>(data);
    one::<Garbage>(data);
    one::<Repair>(data);
    one::<Hold>(data);
    one::<Switch>(data);
    if let (Ok(object), Ok(summary)) = (Object::decode(data), Summary::decode(data)) {
        assert_eq!(
            (object.len, object.etag, object.last_modified),
            (summary.len, summary.etag, summary.last_modified)
        );
        assert_eq!(Etag::parse(&object.etag.to_text()), Some(object.etag));
    }
    if let Ok(manifest) = Manifest::decode(data) {
        for number in [0, 1, 5000, 10_000, u16::MAX] {
            let _ = (manifest.contains(number), manifest.checkpoint_of(number));
        }
        let _ = (manifest.checkpoint_at(0), manifest.checkpoint_at(u64::MAX));
    }
    let mut draw = Draw(data);
    let context = body::Context::Version(VersionId::new(draw.u128()));
    let other = body::Context::Part(UploadId::new(draw.u128()), draw.u16());
    let _ = body::open(context, &data.to_vec().into());
    let sealed = body::seal(context, draw.0);
    assert_eq!(body::open(context, &sealed).as_deref(), Ok(draw.0));
    assert!(body::open(other, &sealed).is_err(), "a body beside another record verifies");
}

fn one<R: Record + PartialEq>(data: &[u8]) {
    let Ok(record) = R::decode(data) else { return };
    let again = R::decode(&record.encode());
    assert!(again.is_ok_and(|again| again == record), "a {} record changes", R::NAME);
}

/// Any bytes as a key; and keys that are built from any names come back as they were.
pub(super) fn keys(data: &[u8]) {
    let _ = kind_of(data);
    let _ = (bucket::parse_key(data), counter::parse_key(data), object::parse_key(data));
    let _ = (upload::parse_key(data), part::parse_key(data), pulse::parse_key(data));
    let _ = (manifest::parse_key(data), reference::parse_key(data), garbage::parse_key(data));
    let _ =
        (repair::parse_key(data), hold::parse_key(data), objects::schema::blob::parse_key(data));
    let _ = (kv::decode_text(data), Etag::parse(&String::from_utf8_lossy(data)));

    let mut draw = Draw(data);
    let (bucket_id, id) = (BucketId::new(draw.u64()), UploadId::new(draw.u128()));
    let home = Home::of(bucket_id);
    let (one, two) = (draw.text(), draw.text());
    let object_key = object::key(home, &one);
    assert_eq!(object::parse_key(object_key.as_bytes()), Some((bucket_id, one.as_str())));
    assert_eq!(
        object_key.cmp(&object::key(home, &two)),
        one.as_bytes().cmp(two.as_bytes()),
        "another order"
    );
    let upload_key = upload::key(home, &one, id);
    assert_eq!(upload::parse_key(upload_key.as_bytes()), Some((bucket_id, one.clone(), id)));
    if one != two {
        let order = upload_key.cmp(&upload::key(home, &two, id));
        assert_eq!(order, one.as_bytes().cmp(two.as_bytes()), "uploads are in another order");
    }
    let mut escaped = Vec::new();
    kv::encode_text(&one, &mut escaped);
    escaped.extend_from_slice(two.as_bytes());
    assert_eq!(kv::decode_text(&escaped), Some((one, two.as_bytes())));
}

/// The golden bytes of the schema's own tests.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    const OBJECT: &str = "0108a08d0611abababababababab19abababababababab200328fbe882b6bc3130113a040102030440\
                          034900000000000000005199000000000000005a140a0a746578742f706c61696e42060a0161120162";
    const COPIES: &str = "00000000000000d000000000000000c00100000000000000d100000000000000c102000000000000\
                          00d200000000000000c2";
    let texts = [
        format!("{OBJECT}6200"),
        format!(
            "{OBJECT}6a540907000000000000001249092211000000000000100718022001280130a08d063a33{COPIES}"
        ),
        format!("{OBJECT}72220907000000000000001100000000000000001905000000000000002003288080c002"),
        format!("010a49092211000000000000100718022001280130a08d063a33{COPIES}10fbe882b6bc31"),
        "010a0670686f746f73102a18fbe882b6bc31".to_owned(),
        "0109070000000000000010fbe882b6bc31".to_owned(),
        "0108fbe882b6bc3110c00218032204010201012a020100".to_owned(),
        "0108a08d0611abababababababab19abababababababab20fbe882b6bc312802320401020304".to_owned(),
        "0108fbe882b6bc31".to_owned(),
        "010907000000000000001203612f62".to_owned(),
        "0109070000000000000010031a02010420fbe882b6bc31".to_owned(),
        "0108fbe882b6bc31102a180322042a026e6f".to_owned(),
    ];
    texts.iter().map(|text| from_hex(text)).collect()
}

/// One key of each kind that is built from names.
pub(super) fn key_seeds() -> Vec<Vec<u8>> {
    let home = Home::of(BucketId::new(7));
    let keys = [
        object::key(home, "a/b"),
        upload::key(home, "a\0b", UploadId::new(9)),
        part::key(home, UploadId::new(9), 10_000),
        bucket::key(home),
    ];
    keys.iter().map(|key| key.as_bytes().to_vec()).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.bytes().filter_map(|b| char::from(b).to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect()
}
