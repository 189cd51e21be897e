//! Outputs as bytes, for Redis. Whatever comes back is checked as if a client had sent it.

use crate::tensor::{Datatype, MAX_RANK, Tensor, bytes_of};

/// What a value of this form begins with.
const FORM: &[u8; 4] = b"srn1";

/// In the order of their numbers.
const DATATYPES: [Datatype; 10] = [
    Datatype::Bool,
    Datatype::Uint8,
    Datatype::Int8,
    Datatype::Int16,
    Datatype::Int32,
    Datatype::Int64,
    Datatype::Fp16,
    Datatype::Bf16,
    Datatype::Fp32,
    Datatype::Fp64,
];

/// Each tensor: number of its datatype, rank, sizes, and its bytes, whose number follows from these.
pub(super) fn encode(outputs: &[Tensor]) -> Vec<u8> {
    let bytes = bytes_of(outputs);
    let mut value = Vec::with_capacity(FORM.len() + bytes + outputs.len() * 2 * (1 + MAX_RANK));
    value.extend_from_slice(FORM);
    for output in outputs {
        let datatype = DATATYPES.iter().position(|it| *it == output.datatype());
        let head = [datatype, Some(output.shape().len())];
        value.extend(head.map(|it| it.and_then(|it| u8::try_from(it).ok()).unwrap_or(u8::MAX)));
        for size in output.shape() {
            value.extend_from_slice(&size.to_le_bytes());
        }
        value.extend_from_slice(output.bytes());
    }
    value
}

/// Nothing, if it is not what [`encode`] makes.
pub(super) fn decode(value: &[u8]) -> Option<Vec<Tensor>> {
    let mut rest = value.strip_prefix(FORM)?;
    let mut outputs = Vec::new();
    while let Some((&[datatype, rank], more)) = rest.split_first_chunk() {
        let datatype = *DATATYPES.get(usize::from(datatype))?;
        let rank = usize::from(rank);
        let (sizes, more) = more.split_at_checked(rank.checked_mul(8)?)?;
        let sizes = sizes.as_chunks::<8>().0.iter();
        let shape: Vec<i64> = sizes.map(|it| i64::from_le_bytes(*it)).collect();
        let bytes = shape.iter().try_fold(datatype.size(), |bytes, &size| {
            bytes.checked_mul(usize::try_from(size).ok()?)
        })?;
        let (bytes, more) = more.split_at_checked(bytes)?;
        outputs.push(Tensor::new(datatype, shape, bytes.to_vec()).ok()?);
        rest = more;
    }
    rest.is_empty().then_some(outputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outputs() -> Vec<Tensor> {
        let tensors = DATATYPES.iter().flat_map(|&datatype| {
            [vec![], vec![3], vec![2, 1, 3]].map(|shape: Vec<i64>| {
                let count: i64 = shape.iter().product();
                let bytes = vec![1; usize::try_from(count).unwrap() * datatype.size()];
                Tensor::new(datatype, shape, bytes).unwrap()
            })
        });
        tensors.collect()
    }

    #[test]
    fn tensors_survive_the_way_there_and_back() {
        assert_eq!(decode(&encode(&outputs())).unwrap(), outputs());
        assert_eq!(decode(&encode(&[])), Some(Vec::new()));
    }

    #[test]
    fn what_is_cut_or_not_of_this_form_is_nothing() {
        let value = encode(&outputs()[1..2]);
        for length in (0..value.len()).filter(|it| *it != FORM.len()) {
            assert_eq!(decode(&value[..length]), None, "{length} bytes of it");
        }
        let mut more = value.clone();
        more.push(0);
        assert_eq!(decode(&more), None);
        for (at, byte) in [(0, b'x'), (4, 10), (5, 255), (13, 255)] {
            let mut other = value.clone();
            other[at] = byte;
            assert_eq!(decode(&other), None, "{byte} at {at}");
        }
    }
}
