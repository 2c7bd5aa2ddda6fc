"""A third-party sink with every kind of setting."""

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from connector.sink import LocalPath, Sink, SinkConfig


class Loft(BaseModel):
    model_config = ConfigDict(extra="forbid")

    floors: list[int] = []
    keeper: str = ""


class PigeonConfig(SinkConfig):
    birds: list[str] = Field(default=[])
    rings: list[SecretStr] = Field(default=[])
    loft: Loft = Loft()
    map: LocalPath | None = None
    speed: float = Field(default=1.0, gt=0)
    route: str | list[str] = ""
    token: SecretStr = SecretStr("")
    grain: str = "corn"

    @field_validator("grain")
    @classmethod
    def _grain(cls, grain):
        if grain == "poison":
            raise ValueError(f"{grain} kills")
        if grain == "surprise":
            raise KeyError(grain)
        return grain

    @model_validator(mode="after")
    def _fast_enough(self):
        if self.speed < 0.5 and self.grain != "corn":
            raise ValueError('a slow bird needs corn; set grain = "corn"')
        return self


class Pigeon(Sink[PigeonConfig]):
    Config = PigeonConfig

    @property
    def destination(self):
        if self.config.loft.keeper == "unknown":
            raise KeyError(self.config.token.get_secret_value())
        return self.config.loft.keeper

    async def deliver(self, batch, context):
        raise NotImplementedError


class Blackboard(Pigeon):
    state = True
