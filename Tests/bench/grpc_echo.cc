// SPDX-License-Identifier: Apache-2.0
// Martlet, bench: a bare gRPC server in C++, the peer of the gRPC benchmarks.
//
// It takes the messages of martlet.v1.Streams by generated stubs and grpc-c++'s callback API, and answers as a broker would,
// but stores nothing: a record is acknowledged when its request is decoded, and subscribers are sent the same records over
// and over. Acknowledgements that wait for the one before to be written go out together, as the broker's do. Server reflection
// is an echo: each request is answered at once.
//
// Prints its port. Ends when it is killed.

#include <cstdio>
#include <mutex>
#include <string>

#include <grpcpp/grpcpp.h>

#include "grpc/reflection/v1/reflection.grpc.pb.h"
#include "martlet/v1/streams.grpc.pb.h"

namespace reflection = grpc::reflection::v1;
using martlet::v1::PublishRequest;
using martlet::v1::PublishResponse;
using martlet::v1::PublishStreamRequest;
using martlet::v1::PublishStreamResponse;
using martlet::v1::SubscribeRequest;
using martlet::v1::SubscribeResponse;

namespace {

constexpr int kRecordBytes = 100;
constexpr int kMessageBytes = 256 << 10;

// A call may be deleted as soon as it is finished, and so that is never done under its lock.

class PublishStream final : public grpc::ServerBidiReactor<PublishStreamRequest, PublishStreamResponse> {
 public:
  PublishStream() { StartRead(&request_); }

  void OnReadDone(bool ok) override {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      ended_ = !ok;
      if (ok) {
        auto* result = waiting_.add_results();
        result->set_request(number_++);
        result->add_batches()->set_base_offset(offset_);
        offset_ += request_.records_size();
        if (!writing_) Write();
      } else if (writing_) {
        return;
      }
    }
    ok ? StartRead(&request_) : Finish(grpc::Status::OK);
  }

  void OnWriteDone(bool ok) override {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      writing_ = false;
      if (ok && waiting_.results_size() > 0) return Write();
      if (!ended_) return;
    }
    Finish(grpc::Status::OK);
  }

  void OnDone() override { delete this; }

 private:
  void Write() {
    writing_ = true;
    sent_.Clear();
    sent_.Swap(&waiting_);
    StartWrite(&sent_);
  }

  std::mutex mutex_;
  PublishStreamRequest request_;
  PublishStreamResponse waiting_, sent_;
  uint64_t number_ = 0;
  int64_t offset_ = 0;
  bool writing_ = false, ended_ = false;
};

// Here an answer is a message, and so those that wait are counted.
class ReflectionStream final
    : public grpc::ServerBidiReactor<reflection::ServerReflectionRequest, reflection::ServerReflectionResponse> {
 public:
  ReflectionStream() {
    response_.set_valid_host("peer");
    StartRead(&request_);
  }

  void OnReadDone(bool ok) override {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      ended_ = !ok;
      if (ok) {
        if (waiting_++ == 0) StartWrite(&response_);
      } else if (waiting_ > 0) {
        return;
      }
    }
    ok ? StartRead(&request_) : Finish(grpc::Status::OK);
  }

  void OnWriteDone(bool ok) override {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      waiting_ = ok ? waiting_ - 1 : 0;
      if (waiting_ > 0) return StartWrite(&response_);
      if (!ended_) return;
    }
    Finish(grpc::Status::OK);
  }

  void OnDone() override { delete this; }

 private:
  std::mutex mutex_;
  reflection::ServerReflectionRequest request_;
  reflection::ServerReflectionResponse response_;
  int waiting_ = 0;
  bool ended_ = false;
};

// The message is made once; from one to the next only the offsets change.
class Subscription final : public grpc::ServerWriteReactor<SubscribeResponse> {
 public:
  explicit Subscription(const SubscribeRequest& request) {
    const int wanted = request.max_bytes_per_message() > 0 ? request.max_bytes_per_message() : kMessageBytes;
    auto* batch = response_.add_batches();
    batch->set_topic(request.topics(0).topic());
    for (int size = 0; size < wanted; size += kRecordBytes + 16) {
      auto* record = batch->add_records();
      record->set_timestamp_ms(1'700'000'000'000);
      record->set_value(std::string(kRecordBytes, 'x'));
    }
    Write();
  }

  void OnWriteDone(bool ok) override {
    if (ok) return Write();
    Finish(grpc::Status::CANCELLED);
  }

  void OnDone() override { delete this; }

 private:
  void Write() {
    auto* batch = response_.mutable_batches(0);
    for (auto& record : *batch->mutable_records()) record.set_offset(offset_++);
    batch->set_high_watermark(offset_);
    StartWrite(&response_);
  }

  SubscribeResponse response_;
  int64_t offset_ = 0;
};

class StreamsService final : public martlet::v1::Streams::CallbackService {
  grpc::ServerUnaryReactor* Publish(
      grpc::CallbackServerContext* context, const PublishRequest* request, PublishResponse* response) override {
    auto* batch = response->add_batches();
    batch->set_base_offset(1);
    for (int position = 0; position < request->records_size(); ++position) batch->add_record_positions(position);
    auto* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

  grpc::ServerBidiReactor<PublishStreamRequest, PublishStreamResponse>* PublishStream(
      grpc::CallbackServerContext*) override {
    return new ::PublishStream();
  }

  grpc::ServerWriteReactor<SubscribeResponse>* Subscribe(
      grpc::CallbackServerContext*, const SubscribeRequest* request) override {
    return new Subscription(*request);
  }
};

class ReflectionService final : public reflection::ServerReflection::CallbackService {
  grpc::ServerBidiReactor<reflection::ServerReflectionRequest, reflection::ServerReflectionResponse>*
  ServerReflectionInfo(grpc::CallbackServerContext*) override {
    return new ReflectionStream();
  }
};

}  // namespace

int main() {
  StreamsService streams;
  ReflectionService reflections;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&streams);
  builder.RegisterService(&reflections);
  auto server = builder.BuildAndStart();
  if (!server) return 1;
  std::printf("%d\n", port);
  std::fflush(stdout);
  server->Wait();
}
