//! `.fnm` of Lucene 4 and 5: Lucene's `Lucene40FieldInfosFormat`, `Lucene42…`, `Lucene46…` and `Lucene50…`.

use super::{DocValuesType, FieldInfo, LUCENE40, LUCENE46, LUCENE50, doc_values_type};
use crate::Result;
use crate::input::Input;

/// The version of [`LUCENE50`] whose maps have their count as a vInt.
const V50_SAFE_MAPS: u32 = 1;

pub(super) fn read_field(input: &mut Input<'_>, codec: &str, version: u32) -> Result<FieldInfo> {
    let name = input.string()?.to_owned();
    let number = input.vint()?;
    input.u8()?; // flags, of which none marks soft deletes yet
    let doc_values = if codec == LUCENE50 {
        input.u8()?; // what is indexed
        let kind = input.u8()?;
        doc_values_type(input, kind)?
    } else {
        let kinds = input.u8()?; // that of norms in the upper half
        match codec {
            // Its kinds are others, and were never used by those who had no doc values before 4.2.
            LUCENE40 => DocValuesType::None,
            _ => doc_values_type(input, kinds & 15)?,
        }
    };
    let doc_values_gen = match codec {
        LUCENE46 | LUCENE50 => input.generation("a doc-values generation")?,
        _ => None,
    };
    let safe = codec == LUCENE50 && version >= V50_SAFE_MAPS;
    let attributes = if safe { input.string_map()? } else { input.old_string_map()? };
    Ok(FieldInfo {
        name,
        number,
        soft_deletes: false,
        doc_values,
        doc_values_skip_index: false,
        doc_values_gen,
        attributes,
    })
}
