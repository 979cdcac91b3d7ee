"""Every row status of a shard and every problem category of a corpus, with its meaning."""

from __future__ import annotations

from typing import Literal

__all__ = ["CATEGORIES", "FAILURES", "STATUSES", "WARNINGS", "Category", "Status", "Warned"]

Status = Literal[
    "ok",
    "no_audio",
    "no_video",
    "no_face",
    "no_text",
    "too_short",
    "media_missing",
    "media_error",
    "extractor_error",
    "worker_crashed",
]
"""The status of an utterance in a row of a shard."""

STATUSES: dict[Status, str] = {
    "ok": "the row holds its features",
    "no_audio": "the utterance has no audio, or its file has no audio stream",
    "no_video": "the utterance has no video, or its file has no video stream",
    "no_face": "no face was found in any sampled frame",
    "no_text": "the transcript is empty",
    "too_short": "the span is too short for the extractor",
    "media_missing": "the media file does not exist",
    "media_error": "the media file cannot be read or decoded",
    "extractor_error": "the extractor raised an error on this utterance",
    "worker_crashed": "the process that worked on this utterance alone died, twice",
}
"""Every status of a row, and what it means."""

FAILURES: tuple[Status, ...] = ("media_missing", "media_error", "extractor_error", "worker_crashed")
"""The statuses of rows that failed (an utterance without a face or a transcript did not fail)."""

Warned = Literal["clock_jump", "junk_skipped", "channels_cancel", "samples_clipped", "size_changes", "header_count"]
"""What is odd with the media of a row that is `ok`: its column `error` begins with one of these."""

WARNINGS: dict[Warned, str] = {
    "clock_jump": "the timestamps of the file jump; what follows a jump was joined to what precedes it",
    "junk_skipped": "damaged bytes within the file were skipped",
    "channels_cancel": "the mix of the channels is more than 10 dB below the channels",
    "samples_clipped": "more than 1 % of the samples are beyond full scale and were clipped",
    "size_changes": "the frames change their size; they were scaled to the size of the stream's header",
    "header_count": "the header counts more frames than the file's complete index",
}
"""Every warning, with its meaning."""

Category = Literal[
    "file_missing",
    "file_damaged",
    "file_refused",
    "file_empty",
    "wrong_encoding",
    "unusable_name",
    "leaves_root",
    "malformed_line",
    "unknown_label",
    "repeated_id",
    "times_backwards",
    "word_without_times",
    "zero_length_word",
    "no_transcript",
    "empty_cue",
    "skipped_tier",
    "skipped_file",
    "several_speakers",
    "several_transcripts",
    "ambiguous_column",
    "unmatched_name",
    "upper_case",
    "no_alignment",
    "no_camera",
    "no_speaker",
    "duplicate_clip",
    "extra_clip",
    "known_damage",
    "media_missing",
    "fewer_crops",
    "count_differs",
    "media_unreadable",
    "no_audio_stream",
    "no_video_stream",
    "no_duration",
    "span_outside",
    "length_differs",
    "cut_off",
    "odd_audio",
    "odd_video",
    "several_tracks",
    "no_decoder",
    "cover_only",
    "many_channels",
    "odd_pixels",
    "variable_rate",
    "header_count",
    "speaker_crosses",
    "duplicate_crosses",
]
"""The category of a problem of a corpus."""

CATEGORIES: dict[Category, str] = {
    "file_missing": "a file of labels, transcripts or times that the corpus should have is not there",
    "file_damaged": "a file cannot be read, or not to its end",
    "file_refused": "an XML file declares entities or a document type, as XML bombs do",
    "file_empty": "a file holds nothing",
    "wrong_encoding": "bytes of a text file are not in its encoding",
    "unusable_name": "the name of a file is not valid Unicode",
    "leaves_root": "a path, link or URL leads out of the corpus root",
    "malformed_line": "a line, row, cue or element does not have the corpus's form",
    "unknown_label": "a label that the corpus does not define",
    "repeated_id": "an id, or an utterance or word, occurs twice: told apart, or the first counts",
    "times_backwards": "an end is before its start",
    "word_without_times": "a word has no times",
    "zero_length_word": "a spoken word has no duration",
    "no_transcript": "an utterance or clip has no text",
    "empty_cue": "a cue has times and no text",
    "skipped_tier": "a tier of a TextGrid is not read",
    "skipped_file": "files or linked folders that are not read, by kind",
    "several_speakers": "a clip in which several people speak is one utterance without a speaker",
    "several_transcripts": "a clip has transcripts in several languages",
    "ambiguous_column": "two columns of a table could be meant, or a column cannot be used",
    "unmatched_name": "the name of a file does not have the form of the pattern",
    "upper_case": "the texts are in upper case, and the text model tells upper from lower case",
    "no_alignment": "an utterance has no words with times",
    "no_camera": "a speaker is on no close-up",
    "no_speaker": "words of somebody whom the list of speakers does not have",
    "duplicate_clip": "two files claim to be the same clip",
    "extra_clip": "a clip that no table names",
    "known_damage": "the release is known to be damaged here",
    "media_missing": "an audio or video file is not there",
    "fewer_crops": "fewer windows than asked for can be drawn",
    "count_differs": "the counts differ from those of the complete release",
    "media_unreadable": "the header of a media file cannot be read",
    "no_audio_stream": "a file named for audio has no audio stream",
    "no_video_stream": "a file named for video has no video stream",
    "no_duration": "the header of a media file does not give a duration",
    "span_outside": "an utterance ends after its file",
    "length_differs": "a clip is longer or shorter than the corpus says",
    "cut_off": "a media file holds less than its header says",
    "odd_audio": "a sampling rate or number of channels that differs from the other files, or a rate below 16 kHz",
    "odd_video": "a frame size or rate that differs from the other files",
    "speaker_crosses": "a speaker is in two splits or more",
    "duplicate_crosses": "the same audio or video is in two splits or folds or more",
    "several_tracks": "a file has several tracks of one kind; one is read",
    "no_decoder": "no decoder fits a stream, which an extraction will reject",
    "cover_only": "the only image of a file named for video is cover art",
    "many_channels": "a file has more than two channels, which are mixed to one",
    "odd_pixels": "the pixels of a video are not square; they are made so",
    "variable_rate": "the frames of a video come at varying intervals",
    "header_count": "a header counts more frames than the complete index has",
}
"""Every category of problem and what it means."""
