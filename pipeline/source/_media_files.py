"""Settings shared by the sources of media files: folders and WebDataset shards."""

from pydantic import Field

from pipeline.media.fetch import Limits
from pipeline.source.reading.column_mapping import Column
from pipeline.storage.urls import Place
from schemas.operator import OperatorSettings as Base


class MediaFileSettings(Base):
    """Settings of a source whose samples are media files, with captions and columns next to them."""

    path: Place
    """where the files are, local or a URL"""
    prompt: str | None = Field(None, pattern=r"\S")
    """the question for samples without a prompt of their own; captions (.txt) then become references; without it captions are the prompts"""
    columns: dict[Column, str] = Field({})
    """column names used in the files next to the media, if different: {reference: description}"""
    licence: str | None = None
    """licence of samples that state none"""
    limit: int | None = Field(None, ge=1)
    """maximum number of samples read, valid or not; no limit by default"""
    fetch: Limits = Limits()
    """limits on fetching from URLs"""
