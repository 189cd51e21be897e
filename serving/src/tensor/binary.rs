//! Tensor data as binary: row-major, little-endian, without padding, as the binary tensor data extension and gRPC
//! have it.

use bytes::Bytes;

use super::{Datatype, Tensor, TensorError, check_shape};

// The bytes of a tensor are in the machine's own order, and go to the wire and come from it as they are.
const _: () = assert!(
    cfg!(target_endian = "little"),
    "binary tensor data is little-endian: this machine would have to swap it"
);

/// Takes `data` as a tensor of `datatype` and `shape`, without a copy. No alignment is needed.
///
/// # Errors
/// [`TensorError`] with the first thing that is wrong.
pub fn parse(data: Bytes, datatype: Datatype, shape: Vec<i64>) -> Result<Tensor, TensorError> {
    check_shape(&shape)?;
    let tensor = Tensor::shared(datatype, shape, data)?;
    if datatype == Datatype::Bool {
        // Any other byte is undefined behaviour for a C++ bool.
        let wrong = tensor
            .bytes()
            .iter()
            .enumerate()
            .find(|(_, byte)| **byte > 1);
        if let Some((index, &value)) = wrong {
            return Err(TensorError::NotBool { index, value });
        }
    }
    Ok(tensor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_shared_whatever_its_alignment() {
        let body = Bytes::from(vec![9_u8; 9]);
        let tensor = parse(body.slice(1..), Datatype::Fp32, vec![2]).unwrap();
        assert_eq!(tensor.bytes().as_ptr(), body[1..].as_ptr());
    }

    #[test]
    fn the_length_must_be_that_of_the_shape() {
        for len in [0, 3, 5, 8] {
            let parsed = parse(vec![0; len].into(), Datatype::Fp16, vec![2]);
            assert!(matches!(parsed, Err(TensorError::Bytes { .. })), "{len}");
        }
        let huge = parse(Bytes::new(), Datatype::Fp64, vec![1 << 62, 4]);
        assert!(matches!(huge, Err(TensorError::Elements { .. })));
    }

    #[test]
    fn bools_are_bytes_of_0_or_1() {
        let parse = |data: &[u8]| parse(data.to_vec().into(), Datatype::Bool, vec![3]);
        assert!(parse(&[0, 1, 1]).is_ok());
        let wrong = TensorError::NotBool { index: 1, value: 2 };
        assert_eq!(parse(&[0, 2, 1]), Err(wrong));
    }
}
