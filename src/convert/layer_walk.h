// One walk through all layers of a plan: converted, seen by whoever needs it, handed on.
#pragma once

#include <functional>

#include "convert/conversion_probe.h"
#include "convert/conversion_statistics.h"
#include "convert/layer_converter.h"

namespace vmla {

using LayerSink = std::function<void(std::int64_t layer, ConvertedLayer& converted)>;

// sequential: as StatisticsOptions'. probe may be null. Stops early when the options are cancelled.
void convert_layers(const LayerConverter& converter,
                    const ConversionPlan& plan,
                    const ConversionOptions& options,
                    ConversionStatistics& statistics,
                    bool sequential,
                    ConversionProbe* probe,
                    const LayerSink& sink);

// The same, then the source's distribution distilled into the layers, which reach the probe and the
// sink at the end: as they were where that did not help, else whole, o_proj included.
DistillationReport convert_distilled_layers(const Checkpoint& source,
                                            const LayerConverter& converter,
                                            const ConversionPlan& plan,
                                            const ConversionOptions& options,
                                            ConversionStatistics& statistics,
                                            ConversionProbe* probe,
                                            const LayerSink& sink);

// Latents by RankAllocation::Greedy whose sum is that of the plan's.
std::vector<LayerLatents> allocate_latents(const LayerConverter& converter,
                                           const ConversionPlan& plan,
                                           const ConversionOptions& options,
                                           ConversionStatistics& statistics);

}  // namespace vmla
