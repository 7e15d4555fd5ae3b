//! H.264 Constrained Baseline without compression: every macroblock that is sent is `I_PCM`, its
//! samples as they are; macroblocks that did not change are skipped.
//!
//! Every browser decodes this, no codec library is needed, and at the size of the test pattern it
//! stays at a few hundred kbit/s because little changes from frame to frame.

use super::bits::{BitWriter, push_nal};
use super::picture::{BLOCK_BYTES, Picture};
use crate::peer::frame_marker::FrameMarker;

/// NAL headers: `nal_ref_idc` and `nal_unit_type`.
const NAL_SLICE: u8 = 0x61;
const NAL_IDR: u8 = 0x65;
const NAL_SEI: u8 = 0x06;
const NAL_SPS: u8 = 0x67;
const NAL_PPS: u8 = 0x68;

/// Constrained Baseline: Baseline with the constraint flags 0, 1 and 2.
const PROFILE_IDC: u32 = 66;
const CONSTRAINTS: u32 = 0b1110_0000;
/// Level 3.1, which browsers offer; it allows 14 Mbit/s.
const LEVEL_IDC: u32 = 31;
/// `frame_num` has this many bits.
const FRAME_NUM_BITS: u8 = 8;

/// `slice_type` of a picture that has only slices of this type (table 7-6).
const SLICE_P: u32 = 5;
const SLICE_I: u32 = 7;
/// `mb_type` of `I_PCM` in an I slice (table 7-11) and in a P slice (behind its five own types).
const I_PCM: u32 = 25;
const I_PCM_IN_P: u32 = 5 + I_PCM;

/// Turns pictures into access units in Annex B form.
#[derive(Debug, Default)]
pub struct Encoder {
    /// The picture that the decoder holds.
    reference: Option<Picture>,
    frame_num: u32,
    idr_pic_id: u32,
}

/// One encoded picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessUnit {
    /// Annex B bytes.
    pub data: Vec<u8>,
    /// It can be decoded by itself.
    pub keyframe: bool,
}

impl Encoder {
    /// Encodes a picture, complete if `keyframe` asks for it or there is nothing to refer to.
    /// All pictures of an encoder must have one size; another size starts over.
    pub fn encode(&mut self, picture: &Picture, marker: FrameMarker, keyframe: bool) -> AccessUnit {
        let reference = self.reference.take().filter(|reference| {
            !keyframe
                && reference.columns() == picture.columns()
                && reference.blocks().len() == picture.blocks().len()
        });
        let mut data = Vec::new();
        match &reference {
            None => {
                self.frame_num = 0;
                self.idr_pic_id = (self.idr_pic_id + 1) % 2;
                push_nal(&mut data, NAL_SPS, &sequence_parameters(picture));
                push_nal(&mut data, NAL_PPS, &picture_parameters());
                push_nal(&mut data, NAL_SEI, &marker.to_rbsp());
                push_nal(&mut data, NAL_IDR, &self.intra_slice(picture));
            }
            Some(reference) => {
                self.frame_num = (self.frame_num + 1) % (1 << FRAME_NUM_BITS);
                push_nal(&mut data, NAL_SEI, &marker.to_rbsp());
                push_nal(&mut data, NAL_SLICE, &self.predicted_slice(picture, reference));
            }
        }
        let keyframe = reference.is_none();
        self.reference = Some(picture.clone());
        AccessUnit { data, keyframe }
    }

    fn intra_slice(&self, picture: &Picture) -> Vec<u8> {
        let mut slice = BitWriter::with_capacity(picture.blocks().len() * (BLOCK_BYTES + 2) + 16);
        self.slice_header(&mut slice, SLICE_I);
        for block in picture.blocks() {
            slice.ue(I_PCM);
            slice.bytes(block.samples());
        }
        slice.finish()
    }

    fn predicted_slice(&self, picture: &Picture, reference: &Picture) -> Vec<u8> {
        let mut slice = BitWriter::with_capacity(16 * BLOCK_BYTES);
        self.slice_header(&mut slice, SLICE_P);
        let mut skipped = 0;
        for (block, before) in picture.blocks().iter().zip(reference.blocks()) {
            if block == before {
                skipped += 1;
                continue;
            }
            slice.ue(skipped);
            slice.ue(I_PCM_IN_P);
            slice.bytes(block.samples());
            skipped = 0;
        }
        if skipped > 0 {
            slice.ue(skipped);
        }
        slice.finish()
    }

    /// `slice_header()` (7.3.3) of a picture in one slice.
    fn slice_header(&self, slice: &mut BitWriter, slice_type: u32) {
        slice.ue(0); // first_mb_in_slice
        slice.ue(slice_type);
        slice.ue(0); // pic_parameter_set_id
        slice.bits(self.frame_num, FRAME_NUM_BITS);
        if slice_type == SLICE_I {
            slice.ue(self.idr_pic_id);
            slice.bit(false); // no_output_of_prior_pics_flag
            slice.bit(false); // long_term_reference_flag
        } else {
            slice.bit(false); // num_ref_idx_active_override_flag
            slice.bit(false); // ref_pic_list_modification_flag_l0
            slice.bit(false); // adaptive_ref_pic_marking_mode_flag
        }
        slice.se(0); // slice_qp_delta
        slice.ue(1); // disable_deblocking_filter_idc: samples arrive as they are
    }
}

/// `seq_parameter_set_rbsp()` (7.3.2.1).
fn sequence_parameters(picture: &Picture) -> Vec<u8> {
    let mut sps = BitWriter::default();
    sps.bits(PROFILE_IDC, 8);
    sps.bits(CONSTRAINTS, 8);
    sps.bits(LEVEL_IDC, 8);
    sps.ue(0); // seq_parameter_set_id
    sps.ue(u32::from(FRAME_NUM_BITS) - 4); // log2_max_frame_num_minus4
    sps.ue(2); // pic_order_cnt_type: output order is decoding order
    sps.ue(1); // max_num_ref_frames
    sps.bit(false); // gaps_in_frame_num_value_allowed_flag
    sps.ue(minus_one(picture.columns())); // pic_width_in_mbs_minus1
    sps.ue(minus_one(picture.rows())); // pic_height_in_map_units_minus1
    sps.bit(true); // frame_mbs_only_flag
    sps.bit(true); // direct_8x8_inference_flag
    sps.bit(false); // frame_cropping_flag
    sps.bit(true); // vui_parameters_present_flag
    sps.bits(0, 8); // nothing of the VUI up to pic_struct_present_flag
    // bitstream_restriction: a decoder may show each picture at once.
    sps.bit(true);
    sps.bit(true); // motion_vectors_over_pic_boundaries_flag
    sps.ue(0); // max_bytes_per_pic_denom: no limit
    sps.ue(0); // max_bits_per_mb_denom: no limit
    sps.ue(10); // log2_max_mv_length_horizontal
    sps.ue(10); // log2_max_mv_length_vertical
    sps.ue(0); // max_num_reorder_frames
    sps.ue(1); // max_dec_frame_buffering
    sps.finish()
}

/// `pic_parameter_set_rbsp()` (7.3.2.2).
fn picture_parameters() -> Vec<u8> {
    let mut pps = BitWriter::default();
    pps.ue(0); // pic_parameter_set_id
    pps.ue(0); // seq_parameter_set_id
    pps.bit(false); // entropy_coding_mode_flag: CAVLC
    pps.bit(false); // bottom_field_pic_order_in_frame_present_flag
    pps.ue(0); // num_slice_groups_minus1
    pps.ue(0); // num_ref_idx_l0_default_active_minus1
    pps.ue(0); // num_ref_idx_l1_default_active_minus1
    pps.bit(false); // weighted_pred_flag
    pps.bits(0, 2); // weighted_bipred_idc
    pps.se(0); // pic_init_qp_minus26
    pps.se(0); // pic_init_qs_minus26
    pps.se(0); // chroma_qp_index_offset
    pps.bit(true); // deblocking_filter_control_present_flag
    pps.bit(false); // constrained_intra_pred_flag
    pps.bit(false); // redundant_pic_cnt_present_flag
    pps.finish()
}

fn minus_one(count: usize) -> u32 {
    u32::try_from(count.saturating_sub(1)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
