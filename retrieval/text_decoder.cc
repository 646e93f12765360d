#include "retrieval/text_decoder.h"

#include <unicode/ucnv.h>
#include <unicode/ucsdet.h>
#include <unicode/ustring.h>
#include <unicode/utf8.h>

#include <algorithm>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "retrieval/words.h"

namespace blazon::retrieval {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";
constexpr int32_t kSureEncoding = 40;  // of ICU's 100
constexpr int64_t kFewNonAscii = 12;   // too little to tell encodings of one byte a character apart
constexpr size_t kDetectionBytes = 64u << 10;

// From `encoding` (a name ICU knows) to UTF-8; false when the bytes do not fit it or the name is unknown.
bool Convert(std::string_view bytes, const char* encoding, std::string& text) {
  UErrorCode error = U_ZERO_ERROR;
  UConverter* converter = ucnv_open(encoding, &error);
  if (U_FAILURE(error)) return false;
  const absl::Cleanup close_converter = [converter] { ucnv_close(converter); };
  ucnv_setToUCallBack(converter, UCNV_TO_U_CALLBACK_STOP, nullptr, nullptr, nullptr, &error);
  std::u16string wide(bytes.size() + 16, u'\0');
  int32_t length = ucnv_toUChars(converter, wide.data(), static_cast<int32_t>(wide.size()), bytes.data(),
                                 static_cast<int32_t>(bytes.size()), &error);
  if (U_FAILURE(error)) return false;
  text.resize(static_cast<size_t>(length) * 3 + 1);
  int32_t size = 0;
  u_strToUTF8(text.data(), static_cast<int32_t>(text.size()), &size, wide.data(), length, &error);
  if (U_FAILURE(error)) return false;
  text.resize(static_cast<size_t>(size));
  return true;
}

bool IsControl(unsigned char c) {
  return c < 0x20 && c != '\t' && c != '\n' && c != '\r' && c != '\f' && c != '\v' && c != 0x1b;
}

int64_t CountControls(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return IsControl(static_cast<unsigned char>(c)); });
}

void UnifyLineEnds(std::string& text) {
  if (text.find('\r') == std::string::npos) return;
  size_t to = 0;
  for (size_t from = 0; from < text.size(); ++from) {
    if (text[from] != '\r') {
      text[to++] = text[from];
    } else {
      text[to++] = '\n';
      if (from + 1 < text.size() && text[from + 1] == '\n') ++from;
    }
  }
  text.resize(to);
}

// Of text in UTF-16 without a byte-order mark, every other byte of its ASCII part is 0.
std::string_view Utf16ByZeros(std::string_view bytes) {
  if (bytes.size() < 8 || bytes.size() % 2 != 0) return "";
  int64_t zeros[2] = {0, 0};
  const size_t size = std::min(bytes.size(), kDetectionBytes);
  for (size_t i = 0; i < size; ++i) zeros[i % 2] += bytes[i] == '\0';
  const auto half = static_cast<int64_t>(size / 2);
  if (zeros[0] == 0 && zeros[1] * 3 > half) return "UTF-16LE";
  if (zeros[1] == 0 && zeros[0] * 3 > half) return "UTF-16BE";
  return "";
}

// ICU's opinion of bytes that are not UTF-8; empty when it has none worth having.
std::string DetectedEncoding(std::string_view bytes) {
  const auto beyond_ascii = std::count_if(bytes.begin(), bytes.end(), [](char c) { return (c & 0x80) != 0; });
  if (beyond_ascii < kFewNonAscii) return "";
  UErrorCode error = U_ZERO_ERROR;
  UCharsetDetector* detector = ucsdet_open(&error);
  if (U_FAILURE(error)) return "";
  const absl::Cleanup close_detector = [detector] { ucsdet_close(detector); };
  // From the first byte beyond ASCII on, so that a long English licence does not hide the rest.
  const auto first = std::find_if(bytes.begin(), bytes.end(), [](char c) { return (c & 0x80) != 0; });
  const size_t begin = static_cast<size_t>(first - bytes.begin()) - std::min<size_t>(first - bytes.begin(), 1024);
  const std::string_view sample = bytes.substr(begin, kDetectionBytes);
  ucsdet_setText(detector, sample.data(), static_cast<int32_t>(sample.size()), &error);
  const UCharsetMatch* match = ucsdet_detect(detector, &error);
  if (U_FAILURE(error) || !match || ucsdet_getConfidence(match, &error) < kSureEncoding) return "";
  const char* name = ucsdet_getName(match, &error);
  return U_FAILURE(error) ? "" : name;
}

// Text with U+FFFD for each byte that is not UTF-8, and how many those were among how many characters beyond ASCII.
struct Repaired {
  std::string text;
  int64_t replaced = 0, good = 0;
};
Repaired RepairUtf8(std::string_view bytes) {
  Repaired repaired;
  repaired.text.reserve(bytes.size());
  const auto size = static_cast<int32_t>(bytes.size());
  for (int32_t at = 0; at < size;) {
    const int32_t begin = at;
    UChar32 character;
    U8_NEXT(bytes.data(), at, size, character);
    if (character < 0) {
      repaired.text += kReplacement;
      ++repaired.replaced;
    } else {
      repaired.text += bytes.substr(static_cast<size_t>(begin), static_cast<size_t>(at - begin));
      if (character >= 0x80) ++repaired.good;
    }
  }
  return repaired;
}

absl::Status Binary(std::string_view bytes, const std::string& how) {
  const std::string_view kind = KindOfBytes(bytes);
  return absl::InvalidArgumentError(kind.empty() ? absl::StrCat("it is binary, not text (", how, ")")
                                                 : absl::StrCat("it is binary, not text: ", std::string(kind)));
}

}  // namespace

absl::StatusOr<DecodedText> DecodeText(std::string_view bytes, const std::string& declared) {
  DecodedText decoded;
  if (bytes.starts_with("\xef\xbb\xbf")) {
    bytes.remove_prefix(3);
    if (!IsValidUtf8(bytes)) return absl::InvalidArgumentError("it has the byte-order mark of UTF-8 and is not UTF-8");
    decoded = {std::string(bytes), "UTF-8"};
  } else if (bytes.starts_with("\xff\xfe") || bytes.starts_with("\xfe\xff")) {
    decoded.encoding = bytes.starts_with("\xff\xfe") ? "UTF-16LE" : "UTF-16BE";
    if (bytes.size() % 2 != 0 || !Convert(bytes.substr(2), decoded.encoding.c_str(), decoded.text)) {
      return absl::InvalidArgumentError(
          absl::StrCat("it has the byte-order mark of ", decoded.encoding, " and is not ", decoded.encoding));
    }
  } else if (const std::string_view wide = Utf16ByZeros(bytes); !wide.empty()) {
    decoded.encoding = std::string(wide);
    if (!Convert(bytes, decoded.encoding.c_str(), decoded.text)) return Binary(bytes, "full of zero bytes");
  } else if (declared.starts_with("iso-2022") && Convert(bytes, declared.c_str(), decoded.text)) {
    decoded.encoding = declared;  // its bytes are ASCII too
  } else if (IsValidUtf8(bytes)) {
    decoded = {std::string(bytes), "UTF-8"};
  } else {
    if (CountControls(bytes) > 0) return Binary(bytes, "control characters in it");
    Repaired repaired = RepairUtf8(bytes);
    if (repaired.good >= 4 * repaired.replaced) {  // UTF-8 that was cut or pasted together
      decoded = {std::move(repaired.text), "UTF-8", repaired.replaced};
    } else {
      // The Web reads ISO-8859-1 as windows-1252 too.
      const auto is_western = [](const std::string& name) {
        return name.empty() || name == "utf-8" || name == "UTF-8" || name == "iso-8859-1" || name == "ISO-8859-1";
      };
      const std::string named = declared.empty() ? DetectedEncoding(bytes) : declared;
      decoded.encoding = is_western(named) ? "windows-1252" : named;
      bool fits = Convert(bytes, decoded.encoding.c_str(), decoded.text);
      if (!fits && declared.empty() && decoded.encoding != "windows-1252") {  // only a guess
        decoded.encoding = "windows-1252";
        fits = Convert(bytes, "windows-1252", decoded.text);
      }
      if (!fits) {
        return absl::InvalidArgumentError(
            absl::StrCat("it is neither UTF-8 nor ", decoded.encoding, "; convert it to UTF-8"));
      }
    }
  }
  const size_t nul = decoded.text.find('\0');
  if (nul != std::string::npos) return Binary(bytes, absl::StrCat("a zero byte at ", nul));
  if (static_cast<size_t>(CountControls(decoded.text)) * 100 > decoded.text.size())
    return Binary(bytes, "full of control characters");
  UnifyLineEnds(decoded.text);
  return decoded;
}

std::string ToCleanUtf8(std::string_view text) {
  std::string clean = IsValidUtf8(text) ? std::string(text) : RepairUtf8(text).text;
  if (clean.find('\0') != std::string::npos) {
    std::string without;
    for (const char c : clean) {
      if (c == '\0') {
        without += kReplacement;
      } else {
        without += c;
      }
    }
    clean = std::move(without);
  }
  UnifyLineEnds(clean);
  return clean;
}

std::string_view KindOfBytes(std::string_view bytes) {
  struct Kind {
    std::string_view magic, name;
    size_t at = 0;
  };
  using std::string_view_literals::operator""sv;
  static constexpr Kind kKinds[] = {
      {"%PDF-"sv, "a PDF file"},
      {"PK\3\4"sv, "a zip file"},
      {"PK\5\6"sv, "an empty zip file"},
      {"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"sv, "an Office file of before 2007, or one with a password"},
      {"\x89PNG\r\n\x1a\n"sv, "a PNG picture"},
      {"\xff\xd8\xff"sv, "a JPEG picture"},
      {"GIF8"sv, "a GIF picture"},
      {"WEBP"sv, "a WebP picture", 8},
      {"II*\0"sv, "a TIFF picture"},
      {"MM\0*"sv, "a TIFF picture"},
      {"\x1f\x8b\x08"sv, "a gzip file"},
      {"BZh"sv, "a bzip2 file"},
      {"\xfd"
       "7zXZ\0"sv,
       "an xz file"},
      {"\x28\xb5\x2f\xfd"sv, "a zstd file"},
      {"7z\xbc\xaf\x27\x1c"sv, "a 7z archive"},
      {"Rar!\x1a\x07"sv, "a RAR archive"},
      {"\x7f"
       "ELF"sv,
       "a program"},
      {"MZ\x90\0"sv, "a program"},
      {"{\\rtf"sv, "an RTF file"},
      {"SQLite format 3\0"sv, "an SQLite database"},
      {"ftyp"sv, "a video or HEIF file", 4},
      {"ID3"sv, "an MP3 file"},
      {"OggS"sv, "an Ogg file"},
      {"fLaC"sv, "a FLAC file"},
  };
  for (const Kind& kind : kKinds) {
    if (bytes.size() >= kind.at + kind.magic.size() && bytes.substr(kind.at).starts_with(kind.magic)) return kind.name;
  }
  if (bytes.starts_with("BM") && bytes.size() > 26 && bytes.substr(6, 4) == "\0\0\0\0"sv) return "a BMP picture";
  return "";
}

}  // namespace blazon::retrieval
