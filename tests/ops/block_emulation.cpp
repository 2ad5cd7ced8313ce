// The GPU's networks and fused renderer, run by CPU threads that stand for a block.
#include "gpu_emulation.h"

#include "operations.h"

using namespace fieldlab;

namespace {
constexpr int kTeam = 16, kSmallTile = 32;

template <class Body>
void block(const Body& body) {
  pthread_barrier_init(&barrier, nullptr, kTeam);
  std::vector<std::thread> threads;
  for (int i = 0; i < kTeam; ++i) threads.emplace_back([&, i] { body(Team{i, kTeam}); });
  for (std::thread& t : threads) t.join();
  pthread_barrier_destroy(&barrier);
}

MatrixIn in(float* data, std::int64_t n) { return {data, 1, n}; }
MatrixOut out(float* data, std::int64_t n) { return {data, 1, n}; }
}  // namespace

extern "C" {
// All arrays are channel by channel.
// The regions of memory are apart, as those of a wide network are.
void mlp(std::int64_t n, int first, int second, int n_out, int width, int hidden, bool bias, bool sigmoid, int skip,
         float sine_low, float sine_high, float* x0, float* x1, float* params, float* result, float* grad_out, float* grad0,
         float* grad1, float* grad_params) {
  const MlpShape shape{first, second, n_out, width, hidden, bias, sigmoid, skip, sine_low, sine_high};
  const MlpForward f{n, shape, in(x0, n), in(x1, n), params, out(result, n), nullptr};
  std::vector<float> weights(MlpBackwardScratch::weights_size(shape)), fast(forward_scratch(shape, kSmallTile));
  block([&](const Team& team) {
    pack_weights(team, shape, params, false, weights.data());
    for (std::int64_t start = 0; start < n; start += kSmallTile)
      mlp_forward_tile(team, f, weights.data(), fast.data(), start, kSmallTile);
  });
  const MlpBackward b{n, shape, in(x0, n), in(x1, n), params, nullptr, in(result, n), in(grad_out, n), out(grad0, n),
                      out(grad1, n), grad_params};
  std::vector<float> own(MlpBackwardScratch::own_size(shape, kSmallTile));
  fast.assign(MlpBackwardScratch::fast_size(shape, kSmallTile), 0.f);
  const MlpBackwardScratch scratch(shape, kSmallTile, weights.data(), own.data(), fast.data());
  block([&](const Team& team) {
    mlp_backward_pack(team, b, scratch.packed, scratch.packed_transposed);
    mlp_backward_begin(team, b, scratch);
    for (std::int64_t start = 0; start < n; start += kSmallTile) mlp_backward_tile(team, b, scratch, start, kSmallTile);
    mlp_backward_end(team, b, scratch, [](float* to, float value) { *to += value; });
  });
}

void render(std::int64_t n, float* origins, float* directions, float* near, float* far, std::uint64_t* blocks,
            std::uint64_t* coarse, float* aabb, int resolution, float step, int levels, float* scales,
            std::uint32_t* resolutions, std::uint32_t* offsets, unsigned char* hashed, float* table, float* geometry_params,
            float* color_params, float offset, float* rgb, float* opacity, float* depth, std::int32_t* evaluated) {
  RenderField a{};
  a.rays = {n, {blocks, coarse, aabb, resolution, 1}, in(origins, n), in(directions, n), near, far, step, 0.f, false, aabb,
            1e-4f, 0.f, out(rgb, n), opacity, depth, evaluated};
  HashGridEncoder hash{{levels, 2, false, {}}, table, false};
  for (int l = 0; l < levels; ++l)
    hash.grid.level[l] = {scales[l], resolutions[l], offsets[l], offsets[l + 1] - offsets[l], hashed[l] != 0};
  a.field.encoders = a.field.branches = 1;
  a.field.encoder[0] = Encoder::of(hash);
  a.field.branch[0] = {0, 1, true, {levels * 2, 0, 16, 64, 1, false, false}, geometry_params};
  a.field.latent = 15;
  a.field.color_perceptron = true;
  a.field.color = {15, 16, 3, 64, 2, false, true};
  a.field.color_params = color_params;
  a.field.sh_degree = 4;
  a.field.offset = offset;
  a.field.ceiling = 6.f;
  std::vector<float> weights(FieldTile::weights_size(a.field));
  std::vector<float> field_memory(FieldTile::scratch(a.field, kSmallTile));
  std::vector<double> ray_memory(RenderScratch::bytes(kSmallTile) / sizeof(double) + 1);
  const FieldTile field(a.field, kSmallTile, weights.data(), field_memory.data());
  const RenderScratch scratch(kSmallTile, reinterpret_cast<float*>(ray_memory.data()));
  block([&](const Team& team) {
    field.pack(team);
    for (std::int64_t begin = 0; begin < n; begin += 100) {
      team.sync();
      render_chunk(team, a.rays, field, scratch, begin, min_of<std::int64_t>(begin + 100, n), kSmallTile);
    }
  });
}
}
