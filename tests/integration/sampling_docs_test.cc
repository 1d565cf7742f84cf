// The table of docs/sampling.md against a real server: what it says is accepted
// and refused, for every field that there is.
#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "google/rpc/error_details.pb.h"
#include "tests/integration/server_rig.h"

namespace chela {
namespace {

using ::testing::StartsWith;

struct Row {
  std::string field;
  std::vector<std::string> accepted;
  std::vector<std::string> refused;
};

// What stands between backticks.
std::vector<std::string> Snippets(const std::string& cell) {
  const std::vector<std::string> parts = absl::StrSplit(cell, '`');
  std::vector<std::string> snippets;
  for (size_t i = 1; i < parts.size(); i += 2) snippets.push_back(parts[i]);
  return snippets;
}

std::vector<Row> ReadTable() {
  std::ifstream file(CHELA_SOURCE_DIR "/docs/sampling.md");
  std::vector<Row> rows;
  std::string line;
  while (std::getline(file, line)) {
    if (line.rfind("| `", 0) != 0) continue;
    const std::vector<std::string> cells = absl::StrSplit(line, '|');
    if (cells.size() != 8) {
      ADD_FAILURE() << "not six cells: " << line;
      continue;
    }
    rows.push_back(
        {Snippets(cells[1]).at(0), Snippets(cells[5]), Snippets(cells[6])});
  }
  return rows;
}

bool IsOfTheRequest(const std::string& field) {
  return field == "priority" || field == "user";
}

v1::GenerateStreamRequest Request(const Row& row, const std::string& snippet) {
  v1::GenerateStreamRequest request;
  request.mutable_request()->set_prompt("a prompt");
  google::protobuf::Message* target = request.mutable_request();
  if (!IsOfTheRequest(row.field)) {
    target = request.mutable_request()->mutable_sampling();
  }
  google::protobuf::TextFormat::Parser parser;
  EXPECT_TRUE(parser.MergeFromString(snippet, target)) << snippet;
  return request;
}

std::vector<std::string> WrongFields(const grpc::Status& status) {
  google::rpc::Status details;
  google::rpc::BadRequest bad;
  std::vector<std::string> fields;
  if (!details.ParseFromString(status.error_details()) ||
      details.details_size() != 1 || !details.details(0).UnpackTo(&bad)) {
    return fields;
  }
  for (const auto& one : bad.field_violations()) {
    EXPECT_NE(one.description().find("want"), std::string::npos);
    fields.push_back(one.field());
  }
  return fields;
}

// Whether the server takes it: some answer comes. Then it is cancelled.
grpc::Status Try(ServerRig& rig, const v1::GenerateStreamRequest& request) {
  grpc::ClientContext context;
  const auto reader = rig.stub().GenerateStream(&context, request);
  v1::GenerateStreamResponse message;
  const bool answered = reader->Read(&message);
  if (answered) context.TryCancel();
  while (reader->Read(&message)) {
  }
  const grpc::Status status = reader->Finish();
  return answered ? grpc::Status::OK : status;
}

TEST(SamplingDocsTest, EveryFieldHasARow) {
  std::set<std::string> rows;
  for (const Row& row : ReadTable()) {
    EXPECT_TRUE(rows.insert(row.field).second) << "twice: " << row.field;
    EXPECT_FALSE(row.accepted.empty()) << row.field;
  }
  std::set<std::string> fields = {"priority", "user"};
  const auto* descriptor = v1::SamplingParams::descriptor();
  for (int i = 0; i < descriptor->field_count(); ++i) {
    fields.insert(descriptor->field(i)->name());
  }
  EXPECT_EQ(rows, fields);
}

TEST(SamplingDocsTest, TheServerAcceptsTheEdges) {
  ServerRig rig;
  for (const Row& row : ReadTable()) {
    for (const std::string& snippet : row.accepted) {
      const grpc::Status status = Try(rig, Request(row, snippet));
      EXPECT_TRUE(status.ok()) << snippet << ": " << status.error_message();
    }
  }
}

TEST(SamplingDocsTest, TheServerRefusesWhatLiesBeyondAndNamesTheField) {
  ServerRig rig;
  for (const Row& row : ReadTable()) {
    const std::string path =
        (IsOfTheRequest(row.field) ? "request." : "request.sampling.") +
        row.field;
    for (const std::string& snippet : row.refused) {
      SCOPED_TRACE(snippet);
      const grpc::Status status = Try(rig, Request(row, snippet));
      EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
      const std::vector<std::string> fields = WrongFields(status);
      ASSERT_EQ(fields.size(), 1u);
      EXPECT_THAT(fields[0], StartsWith(path));
    }
  }
}

}  // namespace
}  // namespace chela
