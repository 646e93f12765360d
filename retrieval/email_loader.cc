// E-mail (RFC 5322, MIME) by gmime: headers, the text or else the HTML of each part, attachments.
#include <gmime/gmime.h>

#include <algorithm>
#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "retrieval/format_loaders.h"
#include "retrieval/text_decoder.h"
#include "retrieval/words.h"

namespace blazon::retrieval {
namespace {

constexpr int kMostParts = 512;
constexpr int kDeepest = 32;  // parts in parts

struct Unref {
  void operator()(void* object) const { g_object_unref(object); }
};
template <typename T>
using Owned = std::unique_ptr<T, Unref>;

// A string of gmime's, freed.
std::string Take(char* text) {
  const std::string result = text ? ToCleanUtf8(text) : "";
  g_free(text);
  return result;
}

// The bytes of a part, out of base64 or quoted-printable.
std::string Content(GMimePart* part) {
  GMimeDataWrapper* wrapper = g_mime_part_get_content(part);
  if (!wrapper) return "";
  const Owned<GMimeStream> stream(g_mime_stream_mem_new());
  g_mime_data_wrapper_write_to_stream(wrapper, stream.get());
  const GByteArray* bytes = g_mime_stream_mem_get_byte_array(GMIME_STREAM_MEM(stream.get()));
  return std::string(reinterpret_cast<const char*>(bytes->data), bytes->len);
}

std::string Lower(const char* text) { return text ? absl::AsciiStrToLower(ToCleanUtf8(text)) : ""; }

class EmailReader {
 public:
  EmailReader(const LoaderOptions& options, Document& document) : options_(options), document_(document) {}

  absl::Status Read(GMimeMessage* message) {
    document_.title = Subject(message);
    AddHeaders(message, &document_.metadata);
    if (GMimeObject* body = g_mime_message_get_mime_part(message)) {
      if (absl::Status status = ReadPart(body, 0); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

 private:
  static std::string Subject(GMimeMessage* message) {
    const char* subject = g_mime_message_get_subject(message);
    return subject ? std::string(StripWhitespace(ToCleanUtf8(subject))) : "";
  }

  void Paragraph(const std::string& text) {
    if (!document_.text.empty()) document_.text += document_.text.ends_with('\n') ? "\n" : "\n\n";
    document_.text += text;
  }

  void AddHeaders(GMimeMessage* message, std::map<std::string, std::string>* metadata) {
    std::string lines;
    const auto add = [&](const char* name, const std::string& value) {
      if (value.empty()) return;
      absl::StrAppend(&lines, name, ": ", value, "\n");
      if (metadata) (*metadata)[absl::AsciiStrToLower(name)] = value;
    };
    const auto addresses = [](InternetAddressList* list) {
      return list ? Take(internet_address_list_to_string(list, nullptr, FALSE)) : std::string();
    };
    add("From", addresses(g_mime_message_get_from(message)));
    add("To", addresses(g_mime_message_get_to(message)));
    add("Cc", addresses(g_mime_message_get_cc(message)));
    if (GDateTime* date = g_mime_message_get_date(message))
      add("Date", Take(g_date_time_format(date, "%Y-%m-%d %H:%M %z")));
    add("Subject", Subject(message));
    Paragraph(lines);
  }

  absl::Status ReadPart(GMimeObject* part, int depth) {
    if (depth > kDeepest || ++parts_ > kMostParts) {
      return absl::InvalidArgumentError(
          absl::StrCat("it has more than ", kMostParts, " parts, or parts nested deeper than ", kDeepest));
    }
    if (GMIME_IS_MULTIPART(part)) {
      GMimeMultipart* parts = GMIME_MULTIPART(part);
      const int count = g_mime_multipart_get_count(parts);
      if (Lower(g_mime_content_type_get_media_subtype(g_mime_object_get_content_type(part))) == "alternative") {
        // The same in several forms: the plain one when it says something, else the last, which is the richest.
        GMimeObject* chosen = count > 0 ? g_mime_multipart_get_part(parts, count - 1) : nullptr;
        for (int i = count - 1; i >= 0; --i) {
          GMimeObject* one = g_mime_multipart_get_part(parts, i);
          if (g_mime_content_type_is_type(g_mime_object_get_content_type(one), "text", "plain") && GMIME_IS_PART(one) &&
              !StripWhitespace(Content(GMIME_PART(one))).empty())
            chosen = one;
        }
        return chosen ? ReadPart(chosen, depth + 1) : absl::OkStatus();
      }
      for (int i = 0; i < count; ++i) {
        if (absl::Status status = ReadPart(g_mime_multipart_get_part(parts, i), depth + 1); !status.ok()) return status;
      }
      return absl::OkStatus();
    }
    if (GMIME_IS_MESSAGE_PART(part)) {
      GMimeMessage* message = g_mime_message_part_get_message(GMIME_MESSAGE_PART(part));
      if (!message) return absl::OkStatus();
      AddHeaders(message, nullptr);
      GMimeObject* body = g_mime_message_get_mime_part(message);
      return body ? ReadPart(body, depth + 1) : absl::OkStatus();
    }
    return GMIME_IS_PART(part) ? ReadContent(GMIME_PART(part)) : absl::OkStatus();
  }

  absl::Status ReadContent(GMimePart* part) {
    GMimeObject* object = GMIME_OBJECT(part);
    GMimeContentType* type = g_mime_object_get_content_type(object);
    const char* given = g_mime_part_get_filename(part);
    const std::string name = given ? ToCleanUtf8(given) : "";
    const bool attached = Lower(g_mime_object_get_disposition(object)) == "attachment" || !name.empty();
    if (attached || !g_mime_content_type_is_type(type, "text", "*")) return ReadAttachment(part, name);
    std::string charset = Lower(g_mime_content_type_get_parameter(type, "charset"));
    if (charset == "us-ascii") charset.clear();
    absl::StatusOr<DecodedText> decoded = DecodeText(Content(part), charset);
    if (!decoded.ok()) {
      document_.warnings.push_back(absl::StrCat("a part of it is left out: ", decoded.status().message()));
      return absl::OkStatus();
    }
    if (g_mime_content_type_is_type(type, "text", "html")) {
      Document page;
      if (absl::Status status = LoadHtml(decoded->text, options_.limits, page); !status.ok()) return status;
      decoded->text = std::move(page.text);
    }
    if (StripWhitespace(decoded->text).empty()) return absl::OkStatus();
    if (!document_.sections.empty()) document_.sections.push_back({document_.text.size(), {}, false});
    Paragraph(decoded->text);
    return absl::OkStatus();
  }

  // One that can be read stands under its name; the others are named.
  absl::Status ReadAttachment(GMimePart* part, const std::string& name) {
    if (name.empty()) return absl::OkStatus();  // a picture of the HTML, a signature
    Paragraph(absl::StrCat("Attachment: ", name, "\n"));
    absl::StatusOr<DocumentFormat> format = FormatFromPath(name);
    absl::StatusOr<Document> attachment =
        !format.ok() || *format == DocumentFormat::kEmail
            ? absl::UnimplementedError(absl::StrCat(name, ": files of this kind are not read out of an e-mail"))
            : LoadDocument(*format, Content(part), name, options_);
    if (!attachment.ok()) {
      document_.warnings.push_back(absl::StrCat("attachment ", attachment.status().message()));
      return absl::OkStatus();
    }
    for (const std::string& warning : attachment->warnings)
      document_.warnings.push_back(absl::StrCat("attachment ", name, ": ", warning));
    const size_t begin = document_.text.size() + 1;
    Paragraph(attachment->text);
    document_.sections.push_back({begin, {name}, false});
    for (Section& section : attachment->sections) {
      section.begin += begin;
      section.headings.insert(section.headings.begin(), name);
      document_.sections.push_back(std::move(section));
    }
    return absl::OkStatus();
  }

  const LoaderOptions& options_;
  Document& document_;
  int parts_ = 0;
};

// gmime descends into parts by recursion.
bool EmailNestsTooDeep(std::string_view bytes) {
  const std::string lower = absl::AsciiStrToLower(std::string(bytes));
  int levels = 0;
  for (const char* sign : {"multipart/", "message/"}) {
    for (size_t at = lower.find(sign); at != std::string::npos; at = lower.find(sign, at + 1)) {
      if (++levels > 4 * kMostParts) return true;
    }
  }
  return false;
}

}  // namespace

absl::Status LoadEmail(std::string_view bytes, const LoaderOptions& options, Document& document) {
  static const bool started = [] {
    g_mime_init();
    return true;
  }();
  (void)started;
  if (EmailNestsTooDeep(bytes))
    return absl::InvalidArgumentError(absl::StrCat("it has more than ", 4 * kMostParts, " parts in parts"));
  const Owned<GMimeStream> stream(g_mime_stream_mem_new_with_buffer(bytes.data(), bytes.size()));
  const Owned<GMimeParser> parser(g_mime_parser_new_with_stream(stream.get()));
  const Owned<GMimeMessage> message(g_mime_parser_construct_message(parser.get(), nullptr));
  if (!message || (!g_mime_object_get_header(GMIME_OBJECT(message.get()), "From") &&
                   !g_mime_object_get_header(GMIME_OBJECT(message.get()), "Date") &&
                   !g_mime_object_get_header(GMIME_OBJECT(message.get()), "Subject")))
    return absl::InvalidArgumentError("it is no e-mail: it has none of the headers From, Date and Subject");
  return EmailReader(options, document).Read(message.get());
}

}  // namespace blazon::retrieval
